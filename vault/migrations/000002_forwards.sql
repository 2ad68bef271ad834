-- Connections: accounts at PSPs, with their secrets and the only host they may be sent to.
create table connections (
  merchant_id text collate "C" not null,
  connection_id text collate "C" not null,
  psp text not null check (length(psp) between 1 and 50),
  name text not null check (length(name) between 1 and 100),
  base_url text not null check (length(base_url) <= 300),
  data_key_id text collate "C" not null,
  secret_encrypted bytea not null,
  settings json not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (merchant_id, connection_id),
  unique (merchant_id, name)
);

-- One row a request that leaves for a PSP: its audit record and its forward record in one, committed before
-- the first byte is sent. 'recorded' means it may have been sent; 'closed' that it never will be.
create table forwards (
  merchant_id text collate "C" not null,
  attempt_id text collate "C" not null,
  step text not null check (length(step) between 1 and 50),
  send_number smallint not null check (send_number >= 0),
  forward_id text collate "C" not null,
  state text not null check (state in ('recorded', 'not_sent', 'unanswered', 'answered', 'closed')),
  connection_id text collate "C" not null,
  card_id text collate "C" not null,
  card_version_id text collate "C",
  role text not null,
  request_id text not null,
  moves_money boolean not null,
  -- What earlier steps have told the connector, which it needs to make this request again.
  answers json not null default '{}',
  recorded_at timestamptz not null default now(),
  answered_at timestamptz,
  answer_status smallint,
  answer_headers json,
  answer_body text check (length(answer_body) <= 1048576),
  primary key (merchant_id, attempt_id, step, send_number),
  check ((state = 'answered') = (answer_status is not null))
);

alter table connections enable row level security;
alter table forwards enable row level security;
create policy merchant on connections to coffer_vault_service using (is_visible(merchant_id));
create policy merchant on forwards to coffer_vault_service using (is_visible(merchant_id));

grant select, insert, update (base_url, data_key_id, secret_encrypted, settings, updated_at) on connections
  to coffer_vault_service;
grant select, insert, update (state, answered_at, answer_status, answer_headers, answer_body) on forwards
  to coffer_vault_service;
