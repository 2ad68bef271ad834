-- Names the key that wrapped a data key, and its version: several may be in use while they are changed. 'local' is the
-- wrapping key of a time when keys had no ids.
alter table data_keys add column wrapping_key_id text not null default 'local' check (length(wrapping_key_id) <= 300);
alter table data_keys alter column wrapping_key_id drop default;

-- The keys of card numbers' hashes, wrapped as data keys are. They belong to all merchants.
create table fingerprint_keys (
  fingerprint_key_version integer primary key check (fingerprint_key_version > 0),
  wrapped_key bytea not null,
  wrapping_key_id text not null check (length(wrapping_key_id) <= 300),
  created_at timestamptz not null default now()
);
grant select, insert on fingerprint_keys to coffer_vault_service;
