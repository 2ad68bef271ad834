-- Which cards a chunk created: a line a card with its id, that of its version and the hash of its encrypted number. The
-- audit record of the chunk has the hash of this text. Null for chunks of before.
alter table import_chunks add created_cards text;

-- Whether a card is still what its import made it: the auditor reads ids and hashes, and no verdict.
create policy auditing on import_chunks for select to coffer_vault_auditor using (true);
grant select (merchant_id, import_id, chunk, created_cards) on import_chunks to coffer_vault_auditor;
