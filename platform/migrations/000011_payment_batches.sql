-- Files of charges. What a file asks for stands in rows that never change; what became of each stands beside it.
-- A batch is `uploading` until its whole body has arrived and nobody sees it before that; it is `removed` once its
-- time is over, or its upload was broken off, and the relay then deletes it a few rows at a time.
create table payment_batches (
  merchant_id text collate "C" not null,
  batch_id text collate "C" not null,
  status text not null check (status in ('uploading', 'queued', 'running', 'paused', 'settling', 'completed',
    'canceled', 'removed')),
  -- Who sent it: what its payments are recorded with.
  actor text not null,
  key_id text not null,
  request_id text not null,
  source_address text not null,
  -- For rows that name no account of their own.
  connection_id text collate "C" check (length(connection_id) <= 100),
  rows_per_second_max integer check (rows_per_second_max between 1 and 10000),
  start_at timestamptz,
  -- Of the body as it came; null until all of it has.
  sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
  rows_total bigint not null default 0 check (rows_total between 0 and 1000000),
  -- How many rows have which status; those it does not count have none yet.
  counts json not null default '{}',
  -- All rows up to this one have a status.
  rows_done bigint not null default 0,
  -- No row behind this one was sent yet.
  rows_begun bigint not null default 0,
  rows_per_second real,
  -- Whoever works on it counts the fence up first, and writes only while it is still theirs. An upload has it, too.
  fence bigint not null default 0,
  leased_until timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  started_at timestamptz,
  ended_at timestamptz,
  primary key (merchant_id, batch_id),
  check (status in ('uploading', 'removed') or sha256 is not null),
  check (rows_done <= rows_begun or status in ('uploading', 'removed')),
  check (ended_at is not null or status not in ('completed'))
);
-- One at a time charges for a merchant: so one process keeps to the rates of the merchant's accounts.
create unique index payment_batches_running on payment_batches (merchant_id) where status = 'running';
create index payment_batches_open on payment_batches (batch_id) where ended_at is null;
create index payment_batches_ended on payment_batches (ended_at) where ended_at is not null and status <> 'removed';
create index payment_batches_removed on payment_batches (batch_id) where status = 'removed';

create table payment_batch_rows (
  merchant_id text collate "C" not null,
  batch_id text collate "C" not null,
  -- The line of the file, counted from 1.
  row_number bigint not null check (row_number > 0),
  -- The merchant's own. Null where the row was refused as it came: of such a row nothing else is kept.
  row_id text collate "C" check (length(row_id) between 1 and 255),
  charge json,
  primary key (merchant_id, batch_id, row_number),
  foreign key (merchant_id, batch_id) references payment_batches,
  check ((row_id is null) = (charge is null))
);
create unique index payment_batch_rows_row_id on payment_batch_rows (batch_id, row_id, merchant_id)
  where row_id is not null;

create table payment_batch_verdicts (
  merchant_id text collate "C" not null,
  batch_id text collate "C" not null,
  row_number bigint not null,
  status text not null check (status in ('refused', 'processing', 'requires_action', 'authorized', 'captured',
    'canceled', 'declined', 'failed', 'unknown')),
  payment_id text collate "C",
  -- Why it was refused, declined or failed.
  code text check (length(code) <= 255),
  param text check (length(param) <= 255),
  updated_at timestamptz not null default now(),
  primary key (merchant_id, batch_id, row_number),
  foreign key (merchant_id, batch_id, row_number) references payment_batch_rows,
  check (status = 'refused' or payment_id is not null)
);
-- Rows whose payment has no result yet.
create index payment_batch_verdicts_open on payment_batch_verdicts (batch_id, merchant_id, row_number)
  where status in ('processing', 'unknown');

alter table payment_batches enable row level security;
alter table payment_batch_rows enable row level security;
alter table payment_batch_verdicts enable row level security;
create policy merchant on payment_batches to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on payment_batch_rows to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on payment_batch_verdicts to coffer_platform_service using (is_visible(merchant_id));
-- The relay finds what is to be worked on, takes the lease, and removes what is over; it reads no charge.
create policy relay on payment_batches to coffer_platform_relay using (true);
create policy relay on payment_batch_rows to coffer_platform_relay using (true);
create policy relay on payment_batch_verdicts to coffer_platform_relay using (true);

grant select, insert, update (status, sha256, rows_total, counts, rows_done, rows_begun, rows_per_second,
  leased_until, created_at, updated_at, started_at, ended_at) on payment_batches to coffer_platform_service;
grant select, insert on payment_batch_rows to coffer_platform_service;
grant select, insert, update (status, payment_id, code, param, updated_at) on payment_batch_verdicts
  to coffer_platform_service;
grant select (merchant_id, batch_id, status, start_at, fence, leased_until, created_at, ended_at),
  update (status, fence, leased_until), delete on payment_batches to coffer_platform_relay;
grant select (merchant_id, batch_id, row_number), delete on payment_batch_rows, payment_batch_verdicts
  to coffer_platform_relay;
