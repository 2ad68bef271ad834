-- Rotations as they are asked for and found again; and which wrapping key each process would wrap with.

alter table key_rotations
  add column actor text not null,
  -- Whose audit trail tells of it: the merchant's that the caller's key belongs to.
  add column asked_by_merchant_id text not null;

alter table key_holders add column wrapping_key_id text not null;

-- A revoked key is given to nobody any more, and forgotten by those who have it: then its wrapped bytes are destroyed.
alter table data_keys
  alter column wrapped_key drop not null,
  add column revoked_at timestamptz,
  add column destroyed_at timestamptz,
  add check ((wrapped_key is null) = (destroyed_at is not null)),
  add check (destroyed_at is null or revoked_at is not null);
create index data_keys_revoked on data_keys (revoked_at) where revoked_at is not null;
grant update (revoked_at, destroyed_at) on data_keys to coffer_vault_relay;

-- What was erased stays erased.
drop policy rotating on card_versions;
create policy rotating on card_versions to coffer_vault_relay
  using (is_visible(merchant_id) and number_encrypted is not null)
  with check (is_visible(merchant_id) and number_encrypted is not null);
create policy rotating on destinations to coffer_vault_relay
  using (is_visible(merchant_id) and deleted_at is null) with check (is_visible(merchant_id) and deleted_at is null);
grant select (merchant_id, destination_id, data_key_id),
  update (data_key_id, client_key_encrypted, finishing_secret_encrypted) on destinations to coffer_vault_relay;

create policy rotating on tokens to coffer_vault_relay
  using (is_visible(merchant_id) and data_encrypted is not null)
  with check (is_visible(merchant_id) and data_encrypted is not null);
grant select (data_key_id), update (data_key_id) on tokens to coffer_vault_relay;

drop policy rotating on audit_records;
create policy rotating on audit_records for insert to coffer_vault_relay with check (is_visible(merchant_id)
  and action in (
    'card_version.reencrypt', 'token.reencrypt', 'connection.reencrypt', 'destination.reencrypt',
    'key.rotation_end'));

-- How many hashes there are under each fingerprint key, over all merchants: numbers, and nothing of any merchant.
create function fingerprint_census() returns table (fingerprint_key_version integer, rows bigint)
  language sql stable security definer set search_path = public, pg_temp set enable_seqscan = on
  as 'select fingerprint_key_version, count(*) from instruments group by 1';
revoke execute on function fingerprint_census() from public;
grant execute on function fingerprint_census() to coffer_vault_relay;
