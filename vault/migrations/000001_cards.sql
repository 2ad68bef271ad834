-- The vault's own database. The service login sees the rows of the merchants its transaction names, and no
-- others; it may add to the audit trail and the outbox but not change or read them. The relay login hands the
-- outbox on and can read nothing else.

-- Without a setting, nothing is visible. Inside coalesce the condition is no index condition: statements find
-- their rows by the keys they name, and this only decides whether they may see them.
create function is_visible(merchant text) returns boolean language sql stable parallel safe
  return coalesce(merchant = any (string_to_array(current_setting('coffer.merchants', true), ',')), false);

-- Proves at start that the key files belong to this database.
create table key_checks (
  key_name text primary key,
  check_value bytea not null check (length(check_value) = 32)
);

create table data_keys (
  merchant_id text collate "C" not null,
  data_key_id text collate "C" not null,
  wrapped_key bytea not null,
  -- Uses are handed to processes in blocks; AES-GCM with random nonces must stay far below 2^32 a key.
  uses_reserved bigint not null default 0 check (uses_reserved between 0 and 2147483648),
  created_at timestamptz not null default now(),
  primary key (merchant_id, data_key_id)
);

-- One row a card number of a merchant: its random id is the card's fingerprint.
create table instruments (
  merchant_id text collate "C" not null,
  number_hmac bytea not null check (length(number_hmac) = 32),
  fingerprint text collate "C" not null,
  created_at timestamptz not null default now(),
  primary key (merchant_id, number_hmac)
);

create table cards (
  merchant_id text collate "C" not null,
  card_id text collate "C" not null,
  card_version_id text collate "C" not null,
  fingerprint text collate "C" not null,
  status text not null default 'active' check (status in ('active', 'closed', 'contact_cardholder')),
  customer text check (length(customer) <= 255),
  metadata json not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (merchant_id, card_id)
);

-- Versions are appended, never changed.
create table card_versions (
  merchant_id text collate "C" not null,
  card_id text collate "C" not null,
  card_version_id text collate "C" not null,
  data_key_id text collate "C" not null,
  number_encrypted bytea not null check (length(number_encrypted) between 42 and 64),
  brand text not null,
  bin text not null check (length(bin) between 6 and 8),
  last4 text not null check (length(last4) = 4),
  exp_month smallint not null check (exp_month between 1 and 12),
  exp_year smallint not null check (exp_year between 2000 and 2099),
  cardholder_name text check (length(cardholder_name) <= 200),
  reason text not null,
  created_at timestamptz not null,
  primary key (merchant_id, card_id, card_version_id),
  foreign key (merchant_id, card_id) references cards
);

create table audit_records (
  audit_id text collate "C" primary key,
  merchant_id text collate "C" not null,
  at timestamptz not null default now(),
  actor text not null,
  key_id text not null,
  action text not null,
  object_id text not null,
  request_id text not null,
  source_address text not null,
  reason text,
  result text not null,
  -- Which stored bytes were written or read: a row put back to an older state shows.
  ciphertext_hash bytea
);

create table idempotency_records (
  merchant_id text collate "C" not null,
  operation text not null,
  idempotency_key text collate "C" not null,
  body_hmac bytea not null check (length(body_hmac) = 32),
  object_id text not null,
  response_status smallint not null,
  response_body text not null,
  expires_at timestamptz not null,
  primary key (merchant_id, operation, idempotency_key)
);

create table outbox (
  position bigint generated always as identity,
  event_id text collate "C" primary key,
  merchant_id text collate "C" not null,
  type text not null,
  object_id text not null,
  data json not null,
  created_at timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
create index outbox_position on outbox (position);
create index idempotency_records_expiry on idempotency_records using brin (expires_at);

alter table data_keys enable row level security;
alter table instruments enable row level security;
alter table cards enable row level security;
alter table card_versions enable row level security;
alter table audit_records enable row level security;
alter table idempotency_records enable row level security;
alter table outbox enable row level security;

create policy merchant on data_keys to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on instruments to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on cards to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on card_versions to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on audit_records to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on idempotency_records to coffer_vault_service
  using (is_visible(merchant_id));
create policy merchant on outbox to coffer_vault_service using (is_visible(merchant_id));
create policy relay on outbox to coffer_vault_relay using (true);
create policy expired on idempotency_records to coffer_vault_relay using (expires_at < now());

grant select, insert on key_checks, instruments, card_versions, idempotency_records to coffer_vault_service;
grant select, insert, update (uses_reserved) on data_keys to coffer_vault_service;
grant select, insert, update (card_version_id, status, customer, metadata, updated_at) on cards
  to coffer_vault_service;
grant insert on audit_records, outbox to coffer_vault_service;
grant select, delete on outbox to coffer_vault_relay;
grant select (expires_at, merchant_id, operation, idempotency_key), delete on idempotency_records
  to coffer_vault_relay;
