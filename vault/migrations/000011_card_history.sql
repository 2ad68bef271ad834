-- What became of a card, version by version: what changed it, who said so, and what it was then.

alter table card_versions
  add column status text not null default 'active' check (status in ('active', 'closed', 'contact_cardholder')),
  -- Null where it is the number the card was kept with.
  add column fingerprint text collate "C",
  add column actor text,
  add column source text not null default 'api' check (source in ('api', 'account_updater', 'psp', 'import')),
  -- What the source called it, verbatim.
  add column raw_code text check (length(raw_code) <= 100),
  add column note text check (length(note) <= 500),
  add column restored_version_id text collate "C";

alter table cards
  -- Of the number it was kept with; null while that is its number.
  add column first_fingerprint text collate "C",
  add column last_replaced_at timestamptz;

-- Versions that are no longer current, until their numbers are erased.
create table superseded_versions (
  merchant_id text collate "C" not null,
  card_id text collate "C" not null,
  card_version_id text collate "C" not null,
  superseded_at timestamptz not null default now(),
  primary key (merchant_id, card_id, card_version_id)
);

alter table superseded_versions enable row level security;
create policy merchant on superseded_versions to coffer_vault_service using (is_visible(merchant_id));

grant insert on superseded_versions to coffer_vault_service;
grant update (fingerprint, first_fingerprint, last_replaced_at) on cards to coffer_vault_service;
