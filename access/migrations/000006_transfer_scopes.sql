-- Nobody can give a scope that he does not have: who may make keys today may make keys for moving cards, too.
update api_keys set scopes = scopes || '{imports:write,exports:write}' where 'admin' = any (scopes);
