-- Where a merchant's forwards may go: an origin, and if wanted only paths below one. A deleted one keeps its row,
-- for the forwards that went there, and loses its secrets.
create table destinations (
  merchant_id text collate "C" not null,
  destination_id text collate "C" not null,
  origin text collate "C" not null check (length(origin) between 1 and 300),
  path_prefix text collate "C" not null check (length(path_prefix) between 1 and 300),
  methods text[] not null check (cardinality(methods) between 1 and 5),
  client_certificate text check (length(client_certificate) <= 20000),
  -- What is done to a request once its marks are filled.
  finishing json,
  data_key_id text collate "C" not null,
  client_key_encrypted bytea,
  finishing_secret_encrypted bytea,
  created_at timestamptz not null,
  deleted_at timestamptz,
  primary key (merchant_id, destination_id),
  check (client_key_encrypted is null or client_certificate is not null),
  check (deleted_at is null or (client_key_encrypted is null and finishing_secret_encrypted is null))
);
create unique index destinations_by_origin on destinations (origin, merchant_id, path_prefix)
  where deleted_at is null;

alter table destinations enable row level security;
create policy merchant on destinations to coffer_vault_service using (is_visible(merchant_id));
grant select, insert, update (deleted_at, client_key_encrypted, finishing_secret_encrypted) on destinations
  to coffer_vault_service;
