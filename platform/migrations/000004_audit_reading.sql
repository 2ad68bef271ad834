-- The audit trail is read by merchant and by object, newest first: its ids begin with their time. The key begins with
-- the merchant as those of other tables do, so reading by merchant needs no index beside it.
alter table audit_records drop constraint audit_records_pkey, add primary key (merchant_id, audit_id);
create index audit_records_object on audit_records (object_id, merchant_id, audit_id);

grant select (audit_id, merchant_id, at, actor, key_id, action, object_id, request_id, source_address, reason, result)
  on audit_records to coffer_platform_service;
