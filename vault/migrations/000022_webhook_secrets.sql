-- With what a PSP signs its notices about a connection. A row of its own, so that its bytes are under the key that the
-- row names, whichever of a connection's two secrets was changed last.
create table webhook_secrets (
  merchant_id text collate "C" not null,
  connection_id text collate "C" not null,
  data_key_id text collate "C" not null,
  secret_encrypted bytea not null,
  updated_at timestamptz not null,
  primary key (merchant_id, connection_id),
  foreign key (merchant_id, connection_id) references connections
);

alter table webhook_secrets enable row level security;
create policy merchant on webhook_secrets to coffer_vault_service using (is_visible(merchant_id));
grant select, insert, update (data_key_id, secret_encrypted, updated_at) on webhook_secrets
  to coffer_vault_service;
