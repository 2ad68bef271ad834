-- Tokens: secrets beside cards, such as bank accounts. Never changed; deleted and erased as cards are.
create table tokens (
  merchant_id text collate "C" not null,
  token_id text collate "C" not null,
  type text not null check (type in ('bank_account', 'text')),
  data_key_id text collate "C" not null,
  data_encrypted bytea check (length(data_encrypted) between 30 and 32768),
  -- What may be shown of it.
  bank_account json check (length(bank_account::text) <= 200),
  -- Of the account: a random id, found by a keyed hash as those of cards are.
  fingerprint text collate "C",
  customer text check (length(customer) <= 255),
  metadata json not null,
  created_at timestamptz not null,
  deleted_at timestamptz,
  erased_at timestamptz,
  primary key (merchant_id, token_id),
  check ((data_encrypted is null) = (erased_at is not null)),
  check (erased_at is null or coalesce(erased_at >= deleted_at, false)),
  check ((type = 'bank_account') = (fingerprint is not null))
);
create index tokens_by_customer on tokens (customer, merchant_id, token_id)
  where customer is not null and deleted_at is null;
create index tokens_to_erase on tokens (deleted_at, merchant_id, token_id)
  where deleted_at is not null and erased_at is null;

alter table tokens enable row level security;
create policy merchant on tokens to coffer_vault_service using (is_visible(merchant_id));
grant select, insert, update (deleted_at) on tokens to coffer_vault_service;

create policy erasing on tokens to coffer_vault_relay using (deleted_at < now() - interval '26 hours')
  with check (data_encrypted is null and customer is null);
create policy erasing_tokens on audit_records for insert to coffer_vault_relay with check (action = 'token.erase');
grant select (merchant_id, token_id, deleted_at, erased_at),
  update (data_encrypted, bank_account, customer, metadata, erased_at) on tokens to coffer_vault_relay;
