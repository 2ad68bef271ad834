-- People who sign in at the identity provider. One person is one user at one merchant at a time, and stays the same
-- user when they come back: who decided on an approval must not become somebody else.
create table users (
  merchant_id text collate "C" not null references merchants,
  user_id text collate "C" not null,
  issuer text collate "C" not null check (length(issuer) between 1 and 500),
  subject text collate "C" not null check (length(subject) between 1 and 255),
  name text not null check (length(name) between 1 and 100),
  scopes text[] not null check (cardinality(scopes) between 1 and 50),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  disabled_at timestamptz,
  primary key (merchant_id, user_id),
  unique (user_id),
  unique (issuer, subject, merchant_id)
);
create unique index users_active on users (issuer, subject) where disabled_at is null;
create index users_disabled on users (disabled_at) where disabled_at is not null;

alter table users enable row level security;
create policy merchant on users to coffer_access_service using (is_visible(merchant_id));
create policy relay on users to coffer_access_relay using (true);
grant select, insert, update (name, scopes, updated_at, disabled_at) on users to coffer_access_service;
grant select on users to coffer_access_relay;
