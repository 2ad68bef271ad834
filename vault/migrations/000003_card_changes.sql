-- Cards that change, are listed and are deleted.

alter table cards
  -- From here on the card is found by nobody but the attempts that had begun before.
  add column deleted_at timestamptz,
  -- When its number, name, address, customer and metadata were overwritten.
  add column erased_at timestamptz,
  add constraint cards_deleted_before_erased check (erased_at is null or coalesce(erased_at >= deleted_at, false));

alter table card_versions
  add column billing_address json check (length(billing_address::text) <= 5000),
  add column erased_at timestamptz,
  alter column number_encrypted drop not null,
  add constraint card_versions_number_until_erased check ((number_encrypted is null) = (erased_at is not null)),
  -- Of a number of 12 digits no more than 4 and 4 may be shown.
  drop constraint card_versions_bin_check,
  add constraint card_versions_bin_check check (length(bin) between 4 and 8);

create index cards_by_customer on cards (customer, merchant_id, card_id)
  where customer is not null and deleted_at is null;
create index cards_by_fingerprint on cards (fingerprint, merchant_id, card_id) where deleted_at is null;
create index cards_to_erase on cards (deleted_at, merchant_id, card_id)
  where deleted_at is not null and erased_at is null;

grant update (deleted_at) on cards to coffer_vault_service;

-- The relay erases what nothing can need any more: an attempt that began before the deletion may be sent again
-- for up to 25 hours. It sees no other card, reads no number, and can put nothing in its place.
create policy erasing on cards to coffer_vault_relay using (deleted_at < now() - interval '26 hours');
-- Not "exists": the planner would gather all deleted cards to look one up.
create policy erasing on card_versions to coffer_vault_relay
  using ((select true from cards
    where cards.merchant_id = card_versions.merchant_id and cards.card_id = card_versions.card_id limit 1))
  with check (number_encrypted is null and cardholder_name is null and billing_address is null);
create policy erasing on audit_records for insert to coffer_vault_relay with check (action = 'card.erase');
grant select (merchant_id, card_id, deleted_at, erased_at), update (customer, metadata, erased_at) on cards
  to coffer_vault_relay;
grant select (merchant_id, card_id, erased_at), update (number_encrypted, cardholder_name, billing_address, erased_at)
  on card_versions to coffer_vault_relay;
grant insert on audit_records to coffer_vault_relay;
