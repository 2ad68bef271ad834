-- Whose scopes were changed lately: every process asks each second, and forgets what it knew of them.
create index users_changed on users (updated_at);

-- The migration before gave the scopes of moving cards to every key with admin. Taking cards out is as good as reading
-- their numbers, and bringing them in as keeping them: a key that was not to do the one gets no right to the other.
update api_keys set scopes = array_remove(scopes, 'exports:write')
where 'admin' = any (scopes) and not 'cards:reveal' = any (scopes)
  and created_at < (select applied_at from schema_migrations where name = '000006_transfer_scopes.sql');
update api_keys set scopes = array_remove(scopes, 'imports:write')
where 'admin' = any (scopes) and not 'cards:write' = any (scopes)
  and created_at < (select applied_at from schema_migrations where name = '000006_transfer_scopes.sql');
