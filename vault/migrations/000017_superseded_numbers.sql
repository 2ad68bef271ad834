-- Numbers of versions that are no longer current are erased after a time; the chain keeps everything else.
create index superseded_versions_due on superseded_versions (superseded_at);

-- When a version was superseded is the database's to say.
revoke insert on superseded_versions from coffer_vault_service;
grant insert (merchant_id, card_id, card_version_id) on superseded_versions to coffer_vault_service;

-- The relay erases, and never before an attempt that began with the version may have been sent for the last time.
create policy erasing_numbers on superseded_versions to coffer_vault_relay
  using (superseded_at < now() - interval '2 days');
create policy erasing_numbers on card_versions to coffer_vault_relay
  using ((select true from superseded_versions
    where superseded_versions.merchant_id = card_versions.merchant_id
      and superseded_versions.card_id = card_versions.card_id
      and superseded_versions.card_version_id = card_versions.card_version_id limit 1))
  with check (number_encrypted is null);
create policy erasing_numbers on audit_records for insert to coffer_vault_relay
  with check (action = 'card.erase_version');
grant select, delete on superseded_versions to coffer_vault_relay;
