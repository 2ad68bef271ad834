-- How often cards are used, a row a card. Written in batches behind the payments, so it may lag and lose a moment.
create table card_usage (
  merchant_id text collate "C" not null,
  card_id text collate "C" not null,
  last_used_at timestamptz not null,
  -- Of the last 30 days with any: {"2026-11-22": 3}.
  attempts_by_day jsonb not null,
  primary key (merchant_id, card_id)
) with (fillfactor = 80);

alter table card_usage enable row level security;
create policy merchant on card_usage to coffer_vault_service using (is_visible(merchant_id));

grant select, insert, update (last_used_at, attempts_by_day) on card_usage to coffer_vault_service;
