-- What PSPs hold in place of a card's number: the token by which one account of theirs knows it. A row stands for one
-- number, that of the fingerprint, and is used for no other, whatever the card has become since.
create table psp_tokens (
  psp_token_id text collate "C" not null,
  merchant_id text collate "C" not null,
  card_id text collate "C" not null,
  connection_id text collate "C" not null,
  psp text not null,
  fingerprint text collate "C" not null,
  -- As the PSP wrote it. Null once it has ended: the row stays, the token does not.
  token text collate "C" check (length(token) between 1 and 400),
  token_last4 text not null check (length(token_last4) <= 4),
  source text not null check (source in ('imported', 'kept')),
  status text not null check (status in ('active', 'replaced', 'deleted', 'refused', 'erased')),
  -- In whose answer the PSP told it; null where it was imported.
  payment_id text collate "C",
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (psp_token_id, merchant_id),
  check ((status = 'active') = (token is not null)),
  check ((source = 'kept') = (payment_id is not null))
);
-- The one that a charge uses. Statements that find a row by its key ask for the status and not for the token, else the
-- planner could take this index for it. A card that goes back to an earlier number finds the token of that number again.
create unique index psp_tokens_active on psp_tokens (card_id, connection_id, fingerprint, merchant_id)
  where token is not null;
create index psp_tokens_card on psp_tokens (card_id, merchant_id, psp_token_id);

-- Which one an attempt charged instead of the number: what is sent again must be the same.
alter table attempts add column psp_token_id text collate "C";
alter table attempts drop constraint attempts_reason_check;
alter table attempts add constraint attempts_reason_check
  check (reason in ('named', 'routed', 'failover', 'retry', 'psp_token_refused'));

alter table psp_tokens enable row level security;
create policy merchant on psp_tokens to coffer_platform_service using (is_visible(merchant_id));
create policy relay on psp_tokens to coffer_platform_relay using (true);
grant select, insert, update (token, status, updated_at) on psp_tokens to coffer_platform_service;
-- The sequencer sees the event of a card that was deleted, and ends its tokens.
grant select, update (token, status, updated_at) on psp_tokens to coffer_platform_relay;
