-- A payment may be tried again after a definite failure. The attempts are counted in the payment's row: of several
-- who would begin the next one, one does.
alter table payments
  add column attempt_count smallint not null default 1 check (attempt_count between 1 and 100),
  -- The version of the routing rules and the rule that chose; null where the connection was named or there were none.
  add column routing json;
alter table attempts
  add column number smallint not null default 1,
  -- Why it goes through its connection.
  add column reason text not null default 'routed' check (reason in ('named', 'routed', 'failover', 'retry')),
  add column decline json,
  add column failure json;
grant update (attempt_count) on payments to coffer_platform_service;
grant update (decline, failure) on attempts to coffer_platform_service;

-- A merchant's routing: the draft, and which version is in use. The revision grows with every change.
create table routing (
  merchant_id text collate "C" primary key,
  revision integer not null check (revision > 0),
  draft json,
  last_version integer not null check (last_version >= 0),
  active_version integer check (active_version between 1 and last_version),
  updated_at timestamptz not null
);

-- What was ever activated: added, never changed.
create table routing_versions (
  merchant_id text collate "C" not null,
  version integer not null check (version > 0),
  rules json not null,
  -- Those that the rules name: found with them in one look-up.
  connection_ids text[] not null,
  activated_by text not null,
  created_at timestamptz not null,
  primary key (merchant_id, version)
);

alter table routing enable row level security;
alter table routing_versions enable row level security;
create policy merchant on routing to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on routing_versions to coffer_platform_service using (is_visible(merchant_id));
grant select, insert, update (revision, draft, last_version, active_version, updated_at) on routing
  to coffer_platform_service;
grant select, insert on routing_versions to coffer_platform_service;
