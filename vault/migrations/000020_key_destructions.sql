-- Destroying a merchant's keys, the tables that hold encrypted columns since, and keys that are rotated by themselves.

create table key_destructions (
  merchant_id text collate "C" primary key,
  destruction_id text collate "C" not null,
  -- 'revoking' until no process uses the keys any more; then their wrapped bytes are gone.
  state text not null check (state in ('revoking', 'destroyed')),
  reason text not null check (length(reason) between 1 and 500),
  approval_id text not null,
  requested_by text not null,
  approved_by text not null,
  requested_at timestamptz not null,
  -- Which all processes must know before the keys are destroyed.
  generation bigint,
  destroyed_at timestamptz,
  keys_destroyed integer,
  backups_expire_at timestamptz,
  check ((state = 'destroyed') = (destroyed_at is not null)),
  check ((destroyed_at is null) = (keys_destroyed is null) and (destroyed_at is null) = (backups_expire_at is null))
);
create index key_destructions_revoking on key_destructions (merchant_id) where state = 'revoking';

alter table key_destructions enable row level security;
create policy merchant on key_destructions to coffer_vault_service using (is_visible(merchant_id));
create policy destroying on key_destructions to coffer_vault_relay using (true);
grant select, insert on key_destructions to coffer_vault_service;
grant select, update (state, generation, destroyed_at, keys_destroyed, backups_expire_at) on key_destructions
  to coffer_vault_relay;

create index data_keys_superseded on data_keys (superseded_at) where superseded_at is not null;
-- At an eighth of what a key may be used, a new one is made.
create index data_keys_used_much on data_keys (uses_reserved)
  where uses_reserved > 268435456 and superseded_at is null;
grant insert on key_rotations to coffer_vault_relay;

-- Rows that change are put under a new key by the service, which sees whether they are still what was read. The relay
-- does so for those that are written once.
drop policy rotating on connections;
drop policy rotating on destinations;
revoke all on connections, destinations from coffer_vault_relay;
grant update (data_key_id) on destinations to coffer_vault_service;
revoke update (data_key_id, file_key_encrypted) on imports from coffer_vault_relay;

drop policy rotating on audit_records;
create policy rotating on audit_records for insert to coffer_vault_relay with check (is_visible(merchant_id)
  and action in ('card_version.reencrypt', 'token.reencrypt', 'key.rotate', 'key.rotation_end',
    'key.destroyed'));
