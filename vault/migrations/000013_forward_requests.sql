-- Forwards that merchants ask for themselves. A row is there before its request leaves; of the answer it keeps the
-- status and nothing else, because nobody can tell what a destination puts into one.
create table forward_requests (
  merchant_id text collate "C" not null,
  forward_id text collate "C" not null,
  idempotency_key text collate "C" not null,
  body_hmac bytea not null check (length(body_hmac) = 32),
  state text not null check (state in ('recorded', 'not_sent', 'unanswered', 'answered')),
  card_id text collate "C",
  card_version_id text collate "C",
  token_id text collate "C",
  destination_id text collate "C" not null,
  method text not null check (length(method) <= 10),
  url text not null check (length(url) <= 2000),
  recorded_at timestamptz not null,
  -- From then on nobody is waiting for an answer any more.
  deadline_at timestamptz not null,
  ended_at timestamptz,
  answer_status smallint,
  failure_code text check (length(failure_code) <= 50),
  primary key (merchant_id, forward_id),
  check (card_id is not null or token_id is not null),
  check ((card_id is null) = (card_version_id is null)),
  check ((state = 'answered') = (answer_status is not null)),
  check ((state = 'recorded') = (ended_at is null))
);
-- At most one request a key, for ever.
create unique index forward_requests_by_key on forward_requests (idempotency_key, merchant_id);

alter table forward_requests enable row level security;
create policy merchant on forward_requests to coffer_vault_service using (is_visible(merchant_id));
grant select, insert, update (state, ended_at, answer_status, failure_code) on forward_requests
  to coffer_vault_service;
