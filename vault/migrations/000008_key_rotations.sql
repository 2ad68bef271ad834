-- Keys are rotated while everything goes on: every process learns of each change, and says so.

-- What processes must agree on. A number is found by its hash under fingerprint_key_version. While fingerprints get a
-- new key, new numbers are written under the next one too: from next_is_required on by everybody.
create table key_state (
  only_row boolean primary key default true check (only_row),
  -- Grows with every change.
  generation bigint not null default 1,
  fingerprint_key_version integer not null default 1,
  next_fingerprint_key_version integer,
  next_is_required boolean not null default false,
  check (next_fingerprint_key_version is not null or not next_is_required)
);
insert into key_state default values;

-- The processes that hold keys, and which generation each of them has taken notice of.
create table key_holders (
  holder text primary key,
  generation bigint not null,
  seen_at timestamptz not null default now()
);

-- Every statement that looks numbers up or adds new ones begins with this. Until it has committed, no other version
-- becomes the one that numbers are found by; and what was hashed for an earlier state is refused here.
create function hold_fingerprint_keys(versions integer[], next_versions integer[]) returns boolean
language plpgsql volatile as $$
declare
  state key_state;
begin
  perform pg_advisory_xact_lock_shared(727001);
  select * into state from key_state;
  if not coalesce(state.fingerprint_key_version = all (versions), false)
    or (state.next_is_required
      and not coalesce(state.next_fingerprint_key_version = all (next_versions), false)) then
    raise exception 'hashed with fingerprint keys of another state' using errcode = 'CF001';
  end if;
  return true;
end $$;

-- Which key the hash is of: a number has a row for each while fingerprints get a new one.
alter table instruments add column fingerprint_key_version integer not null default 1;
alter table instruments alter column fingerprint_key_version drop default;

alter table fingerprint_keys
  -- No hash is made with it any more; those of repeated requests are still compared for a while.
  add column superseded_at timestamptz,
  add column retired_at timestamptz;

alter table data_keys
  -- Encrypts nothing new from here on, but opens what it has encrypted.
  add column superseded_at timestamptz,
  -- Nothing was left that it has encrypted.
  add column retired_at timestamptz,
  add check (retired_at is null or superseded_at is not null);

create table key_rotations (
  -- 'deployment' for keys that belong to no merchant.
  merchant_id text collate "C" not null,
  rotation_id text collate "C" not null,
  kind text not null check (kind in ('data', 'fingerprint', 'wrapping')),
  -- 'incomplete': at its end, and rows are left that could not be read.
  state text not null check (state in ('running', 'finished', 'incomplete')),
  -- Where it goes on, after a crash too.
  place json not null,
  rows_total bigint not null default 0,
  rows_done bigint not null default 0,
  errors bigint not null default 0,
  started_at timestamptz not null default now(),
  finished_at timestamptz,
  -- Who works on it. One whose fence is another by now writes no progress.
  holder text,
  fence bigint not null default 0,
  held_until timestamptz not null default now(),
  primary key (merchant_id, rotation_id),
  check ((state = 'running') = (finished_at is null))
);
-- One of a kind at a time.
create unique index key_rotations_running on key_rotations (kind, merchant_id) where state = 'running';

alter table key_rotations enable row level security;
create policy merchant on key_rotations to coffer_vault_service using (is_visible(merchant_id));
grant select, insert on key_rotations to coffer_vault_service;
grant select on key_state to coffer_vault_service;

-- The relay turns the keys. It sees the rows of the one merchant its transaction names, and of encrypted columns it
-- may replace the bytes together with the name of their key; it reads none.
create policy rotating on key_rotations to coffer_vault_relay using (true);
create policy rotating on data_keys to coffer_vault_relay using (true);
create policy rotating on instruments to coffer_vault_relay using (is_visible(merchant_id));
create policy rotating on card_versions to coffer_vault_relay
  using (is_visible(merchant_id)) with check (is_visible(merchant_id) and number_encrypted is not null);
create policy rotating on connections to coffer_vault_relay using (is_visible(merchant_id));
create policy rotating on audit_records for insert to coffer_vault_relay
  with check (is_visible(merchant_id) and action in ('card.reencrypt', 'connection.reencrypt', 'key.rotation_end'));
grant select, update (generation, fingerprint_key_version, next_fingerprint_key_version, next_is_required)
  on key_state to coffer_vault_relay;
grant select, insert, update, delete on key_holders to coffer_vault_relay;
grant select, update (state, place, rows_total, rows_done, errors, finished_at, holder, fence, held_until)
  on key_rotations to coffer_vault_relay;
grant select, update (wrapped_key, wrapping_key_id, superseded_at, retired_at) on data_keys to coffer_vault_relay;
grant select, insert, update (wrapped_key, wrapping_key_id, superseded_at, retired_at) on fingerprint_keys
  to coffer_vault_relay;
grant select (merchant_id, number_hmac, fingerprint_key_version), delete on instruments to coffer_vault_relay;
grant select (card_version_id, data_key_id), update (data_key_id) on card_versions to coffer_vault_relay;
grant select (merchant_id, connection_id, data_key_id), update (data_key_id, secret_encrypted) on connections
  to coffer_vault_relay;
