-- Merchants and their API keys. The service may read, add and revoke; it never deletes.
create table merchants (
  merchant_id text collate "C" primary key,
  name text not null check (length(name) between 1 and 200),
  created_at timestamptz not null default now()
);

create table api_keys (
  key_id text collate "C" primary key,
  merchant_id text collate "C" not null references merchants,
  -- SHA-256 of the whole key, which carries 160 random bits: a slow hash would protect nothing more.
  key_hash bytea not null check (length(key_hash) = 32),
  scopes text[] not null check (cardinality(scopes) between 1 and 50),
  owner text not null check (length(owner) between 1 and 200),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz
);

grant select, insert on merchants to coffer_access_service;
grant select, insert, update (revoked_at) on api_keys to coffer_access_service;
