-- The audit trail in a chain. Records are added as before and never touched again; the sealer, which is the relay
-- login, gives each its place within a second. The auditor reads everything of it and changes nothing.

-- In which transaction a record was written: how the sealer finds what it has not seen. 2 is older than any.
alter table audit_records add column transaction_id bigint not null default 2;
alter table audit_records alter column transaction_id set default (pg_current_xact_id()::text::bigint);
create index audit_records_unsealed on audit_records (transaction_id);

-- When and in which transaction is the database's to say, not the writer's.
revoke insert on audit_records from coffer_platform_service;
grant insert (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address, reason, result)
  on audit_records to coffer_platform_service;

-- Where the chain is, one row. What the transactions of sealed_snapshot wrote is sealed, and of those of
-- sealing_snapshot, while there are more than a batch, all down to the last record named.
create table audit_chains (
  zone text primary key,
  sequence bigint not null check (sequence >= 0),
  hash bytea not null check (length(hash) = 32),
  sealed_snapshot pg_snapshot not null,
  sealing_snapshot pg_snapshot,
  last_transaction_id bigint,
  last_merchant_id text collate "C",
  last_audit_id text collate "C",
  -- Who may seal. The fence grows with every change of hands.
  fence bigint not null,
  holder text not null,
  expires_at timestamptz not null
);
insert into audit_chains (zone, sequence, hash, sealed_snapshot, fence, holder, expires_at)
values ('platform', 0, sha256('coffer audit chain platform'), '2:2:', 0, 'nobody', now());

-- The places, a row a batch: the n-th record of it has the sequence first_sequence + n - 1.
create table audit_seals (
  first_sequence bigint primary key,
  merchant_ids text[] not null,
  audit_ids text[] not null,
  hashes bytea[] not null,
  check (cardinality(audit_ids) > 0 and cardinality(merchant_ids) = cardinality(audit_ids)
    and cardinality(hashes) = cardinality(audit_ids))
);

-- As they were signed and exported.
create table audit_checkpoints (
  sequence bigint primary key,
  checkpoint text not null check (length(checkpoint) <= 1000),
  signature text not null check (length(signature) <= 200)
);

create policy sealing on audit_records for select to coffer_platform_relay using (true);
create policy auditing on audit_records for select to coffer_platform_auditor using (true);
grant select on audit_records, audit_chains, audit_seals, audit_checkpoints to coffer_platform_relay, coffer_platform_auditor;
grant update (sequence, hash, sealed_snapshot, sealing_snapshot, last_transaction_id, last_merchant_id, last_audit_id,
  fence, holder, expires_at) on audit_chains to coffer_platform_relay;
grant insert on audit_seals, audit_checkpoints to coffer_platform_relay;
grant select on audit_checkpoints to coffer_platform_service;
