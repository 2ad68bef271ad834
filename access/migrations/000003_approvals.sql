-- Dual control: what one asks for, another person approves. The database holds the rule itself: nobody who stands
-- behind a request decides on it, and only what was approved is used.
create table approvals (
  merchant_id text collate "C" not null references merchants,
  approval_id text collate "C" not null,
  action text not null,
  object_id text collate "C" not null,
  reason text not null,
  -- Shown to whoever decides; what is carried out later must have the same digest.
  parameters json not null,
  parameters_digest bytea not null check (length(parameters_digest) = 32),
  requested_by text not null,
  requested_key_id text not null,
  -- Everybody behind the request: who signed in, or the owner of the key and whoever made it.
  people text[] not null,
  created_at timestamptz not null default now(),
  approve_before timestamptz not null,
  decision text check (decision in ('approved', 'rejected')),
  decided_by text,
  decided_at timestamptz,
  decision_reason text,
  use_before timestamptz,
  used_at timestamptz,
  -- Names the operation: the same one may use it again.
  used_for text,
  primary key (merchant_id, approval_id),
  check ((decision is null) = (decided_by is null) and (decision is null) = (decided_at is null)),
  check (decided_by is null or (decided_by <> requested_by and not decided_by = any (people))),
  check ((use_before is not null) = (decision is not distinct from 'approved')),
  check (used_at is null or decision is not distinct from 'approved'),
  check ((used_at is null) = (used_for is null))
);

alter table approvals enable row level security;
create policy merchant on approvals to coffer_access_service using (is_visible(merchant_id));
grant select, insert,
  update (decision, decided_by, decided_at, decision_reason, use_before, used_at, used_for)
  on approvals to coffer_access_service;

-- The people behind a key: its owner, where that is a user, and those behind the key or the person it was made by.
alter table api_keys add column people text[] not null default '{}';
grant select (people) on api_keys to coffer_access_service;

-- Keys that may do everything else in their deployment may ask for approvals, too.
update api_keys set scopes = scopes || '{approvals}' where 'admin' = any (scopes);
