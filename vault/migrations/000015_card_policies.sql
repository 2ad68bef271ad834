-- What a merchant wants done with its cards. Without a row, everything is as if there were no policy.
create table card_policies (
  merchant_id text collate "C" primary key,
  -- What becomes of a number that is added while the merchant has a card with it.
  duplicates text not null default 'allow' check (duplicates in ('allow', 'return_existing', 'reject')),
  updated_at timestamptz not null default now()
);

-- Grows with each card that is added under another policy than 'allow': of two that are added at the same time,
-- only one finds it as it was.
alter table instruments add column cards_added integer not null default 0 check (cards_added >= 0);

alter table card_policies enable row level security;
create policy merchant on card_policies to coffer_vault_service using (is_visible(merchant_id));

grant select, insert, update (duplicates, updated_at) on card_policies to coffer_vault_service;
grant update (cards_added) on instruments to coffer_vault_service;
