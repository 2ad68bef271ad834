-- Cards that expired long ago are deleted, where the merchant's policy says so.
alter table card_policies
  add column expired_cards_kept_days integer check (expired_cards_kept_days between 1 and 3650),
  -- When the next run is due, or when another process may take over a run that nobody carries on.
  add column retention_due_at timestamptz,
  -- How far the run is, and how many cards it has deleted.
  add column retention_after_card_id text collate "C" not null default '',
  add column retention_deleted integer not null default 0,
  add check ((expired_cards_kept_days is null) = (retention_due_at is null));

create index card_policies_due on card_policies (retention_due_at) where retention_due_at is not null;

create policy retention on card_policies to coffer_vault_relay using (retention_due_at is not null);

grant update (expired_cards_kept_days, retention_due_at, retention_after_card_id, retention_deleted) on card_policies
  to coffer_vault_service;
grant select (merchant_id, expired_cards_kept_days, retention_due_at, retention_after_card_id),
  update (retention_due_at) on card_policies to coffer_vault_relay;
