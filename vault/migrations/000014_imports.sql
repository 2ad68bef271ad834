-- Files of cards that are brought in. The file itself is on disk, encrypted; here is what is to be done with it and
-- how far that is. A chunk of rows is committed together with how far the import is, so no row is taken twice.
create table imports (
  merchant_id text collate "C" not null,
  import_id text collate "C" not null,
  state text not null check (state in ('awaiting_file', 'checking', 'ready', 'importing', 'completed',
    'failed', 'canceled')),
  -- Whose ids the rows carry. Null until the columns tell.
  source text check (length(source) between 1 and 50),
  mapping text not null,
  duplicates text not null check (duplicates in ('customer', 'number', 'none')),
  dry_run boolean not null,
  keep_expired boolean not null,
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  rows_expected bigint check (rows_expected between 0 and 100000000),
  -- Who asked for it: what its chunks are recorded with.
  actor text not null,
  key_id text not null,
  request_id text not null,
  source_address text not null,
  -- The key of the file on disk, sealed with the merchant's data key. A file that is begun anew has a new one.
  data_key_id text collate "C" not null,
  file_key_encrypted bytea not null,
  file_number integer not null default 0,
  -- Of the upload: all of these bytes are on disk.
  bytes_received bigint not null default 0 check (bytes_received >= 0),
  uploading_until timestamptz,
  upload_token text,
  -- Known once the file was checked: what its rows look like, and where they begin.
  layout json,
  bytes_total bigint,
  rows_total bigint,
  -- How far it is: rows before these bytes have their verdict.
  chunks_done integer not null default 0,
  bytes_done bigint not null default 0,
  rows_done bigint not null default 0,
  failure json,
  -- Whoever works on it counts the fence up first, and writes only while it is still theirs.
  fence bigint not null default 0,
  leased_until timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  started_at timestamptz,
  ended_at timestamptz,
  primary key (merchant_id, import_id)
);
create index imports_open on imports (import_id) where state in ('awaiting_file', 'checking', 'ready', 'importing');
-- One at a time writes cards for a merchant: two would each take a number for new.
create unique index imports_importing on imports (merchant_id) where state = 'importing';

-- The verdicts of a chunk of rows, and the sums up to here.
create table import_chunks (
  merchant_id text collate "C" not null,
  import_id text collate "C" not null,
  chunk integer not null check (chunk > 0),
  first_row bigint not null,
  last_row bigint not null,
  created bigint not null,
  duplicate bigint not null,
  invalid bigint not null,
  -- One line of JSON a row: row, source id, verdict, card, fingerprint, why.
  verdicts text not null,
  primary key (merchant_id, import_id, chunk),
  foreign key (merchant_id, import_id) references imports
);

-- Where an imported card comes from: its id there, and what that place knew of it.
create table card_sources (
  merchant_id text collate "C" not null,
  source text collate "C" not null,
  source_id text collate "C" not null check (length(source_id) between 1 and 255),
  card_id text collate "C" not null,
  import_id text collate "C" not null,
  network_transaction_id text check (length(network_transaction_id) <= 255),
  psp_reference text check (length(psp_reference) <= 255),
  created_at timestamptz not null,
  primary key (merchant_id, source, source_id),
  foreign key (merchant_id, card_id) references cards
);
create index card_sources_by_card on card_sources (card_id, merchant_id);

alter table imports enable row level security;
alter table import_chunks enable row level security;
alter table card_sources enable row level security;
create policy merchant on imports to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on import_chunks to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on card_sources to coffer_vault_service using (is_visible(merchant_id));
-- The relay finds what is to be worked on, and takes the lease; it reads no verdict and no source.
create policy relay on imports to coffer_vault_relay using (true);

grant select, insert on imports, import_chunks, card_sources to coffer_vault_service;
grant update (state, source, mapping, data_key_id, file_key_encrypted, file_number, bytes_received, uploading_until,
  upload_token, layout, bytes_total, rows_total, chunks_done, bytes_done, rows_done, failure, leased_until,
  updated_at, started_at, ended_at) on imports to coffer_vault_service;
grant select (merchant_id, import_id, state, fence, leased_until, created_at), update (fence, leased_until)
  on imports to coffer_vault_relay;

-- The OpenPGP keys that files for a merchant are encrypted to. The private ones are sealed with the merchant's data key.
create table import_keys (
  merchant_id text collate "C" not null,
  algorithm text collate "C" not null check (algorithm in ('curve25519', 'rsa4096')),
  fingerprint text not null,
  public_key text not null,
  data_key_id text collate "C" not null,
  private_key_encrypted bytea not null,
  created_at timestamptz not null default now(),
  primary key (merchant_id, algorithm)
);
alter table import_keys enable row level security;
create policy merchant on import_keys to coffer_vault_service using (is_visible(merchant_id));
grant select, insert on import_keys to coffer_vault_service;
