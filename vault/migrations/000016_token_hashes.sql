-- Whether a token is still what the trail says was written of it: the auditor compares hashes, and reads no ciphertext.
create view token_hashes as
  select merchant_id, token_id, sha256(data_encrypted) as ciphertext_hash
  from tokens where data_encrypted is not null;
grant select on token_hashes to coffer_vault_auditor;
