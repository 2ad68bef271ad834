-- Cards that leave, in a file that only its recipient can open. It is put together in parts, and then encrypted to the
-- recipient's key; both are on disk, the parts encrypted like any file that waits.
create table exports (
  merchant_id text collate "C" not null,
  export_id text collate "C" not null,
  state text not null check (state in ('collecting', 'encrypting', 'ready', 'expired', 'failed')),
  customer text check (length(customer) <= 255),
  reason text not null check (length(reason) <= 500),
  recipient_public_key text not null check (length(recipient_public_key) <= 20000),
  recipient_fingerprint text not null,
  approval_id text not null,
  approved_by text not null,
  -- Who asked for it: what its parts are recorded with.
  actor text not null,
  key_id text not null,
  request_id text not null,
  source_address text not null,
  -- The key of the parts on disk, sealed with the merchant's data key.
  data_key_id text collate "C" not null,
  file_key_encrypted bytea not null,
  -- How far it is: cards up to this one are in parts of so many bytes.
  last_card_id text collate "C" not null default '',
  cards_done bigint not null default 0,
  part_bytes bigint[] not null default '{}',
  -- Of the file for the recipient.
  bytes bigint,
  sha256 text,
  failure text,
  fence bigint not null default 0,
  leased_until timestamptz,
  created_at timestamptz not null,
  ended_at timestamptz,
  -- The file is removed then.
  expires_at timestamptz,
  primary key (merchant_id, export_id)
);
create index exports_open on exports (export_id) where state in ('collecting', 'encrypting', 'ready');

alter table exports enable row level security;
create policy merchant on exports to coffer_vault_service using (is_visible(merchant_id));
create policy relay on exports to coffer_vault_relay using (true);
grant select, insert,
  update (state, last_card_id, cards_done, part_bytes, bytes, sha256, failure, leased_until, ended_at, expires_at)
  on exports to coffer_vault_service;
grant select (merchant_id, export_id, state, fence, leased_until, expires_at), update (fence, leased_until) on exports
  to coffer_vault_relay;

-- The keys of files and of imports are sealed with data keys, which are rotated.
create policy rotating on import_keys to coffer_vault_relay using (is_visible(merchant_id));
grant select (merchant_id, algorithm, data_key_id), update (data_key_id, private_key_encrypted) on import_keys
  to coffer_vault_relay;
grant select (data_key_id), update (data_key_id, file_key_encrypted) on imports, exports to coffer_vault_relay;
create policy reencrypting_files on audit_records for insert to coffer_vault_relay with check (is_visible(merchant_id)
  and action in ('import.reencrypt', 'import_key.reencrypt', 'export.reencrypt'));
