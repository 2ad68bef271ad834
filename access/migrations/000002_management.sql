-- Managing merchants and keys: row-level security as in the other zones, an audit trail, idempotency records. The
-- service login sees the merchants its transaction names. The relay login finds a key by its id, whosever it is,
-- lists merchants, tells which keys were revoked, and removes what has expired.
create function is_visible(merchant text) returns boolean language sql stable parallel safe
  return coalesce(merchant = any (string_to_array(current_setting('coffer.merchants', true), ',')), false);

alter table merchants add column updated_at timestamptz not null default now();

-- Keys are listed by merchant, and found by their id alone where nobody knows the merchant yet.
alter table api_keys
  drop constraint api_keys_pkey,
  add primary key (merchant_id, key_id),
  add unique (key_id),
  add column name text not null default 'First key' check (length(name) between 1 and 100),
  -- To within ten minutes.
  add column last_used_at timestamptz;
alter table api_keys alter column name drop default;
create index api_keys_revoked on api_keys (revoked_at) where revoked_at is not null;

-- So far every key with the scope admin was the first one of its deployment.
update api_keys set scopes = scopes || '{audit:read,operator}' where 'admin' = any (scopes);

create table audit_records (
  merchant_id text collate "C" not null,
  audit_id text collate "C" not null,
  at timestamptz not null default now(),
  actor text not null,
  key_id text not null,
  action text not null,
  object_id text collate "C" not null,
  request_id text not null,
  source_address text not null,
  reason text,
  result text not null,
  primary key (merchant_id, audit_id)
);
create index audit_records_object on audit_records (object_id, merchant_id, audit_id);

-- Without a response body the answer held a secret, which is told once.
create table idempotency_records (
  merchant_id text collate "C" not null,
  operation text not null,
  idempotency_key text collate "C" not null,
  -- Unkeyed: these bodies hold no secret, and card numbers are refused in them.
  body_hash bytea not null check (length(body_hash) = 32),
  object_id text not null,
  response_status smallint not null,
  response_body text,
  expires_at timestamptz not null,
  primary key (merchant_id, operation, idempotency_key)
);
create index idempotency_records_expiry on idempotency_records using brin (expires_at);

alter table merchants enable row level security;
alter table api_keys enable row level security;
alter table audit_records enable row level security;
alter table idempotency_records enable row level security;

create policy merchant on merchants to coffer_access_service using (is_visible(merchant_id));
create policy merchant on api_keys to coffer_access_service using (is_visible(merchant_id));
create policy merchant on audit_records to coffer_access_service using (is_visible(merchant_id));
create policy merchant on idempotency_records to coffer_access_service using (is_visible(merchant_id));
create policy relay on merchants to coffer_access_relay using (true);
create policy relay on api_keys to coffer_access_relay using (true);
create policy expired on idempotency_records to coffer_access_relay using (expires_at < now());

-- Only the login that checks keys reads their digests.
revoke select on api_keys from coffer_access_service;
grant select (key_id, merchant_id, name, owner, scopes, created_at, expires_at, revoked_at, last_used_at)
  on api_keys to coffer_access_service;
grant update (name, updated_at) on merchants to coffer_access_service;
grant select, insert on audit_records, idempotency_records to coffer_access_service;
grant select on merchants, api_keys to coffer_access_relay;
grant update (last_used_at) on api_keys to coffer_access_relay;
grant select (expires_at, merchant_id, operation, idempotency_key), delete on idempotency_records
  to coffer_access_relay;
