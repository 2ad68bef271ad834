-- The platform's own database: payments, attempts, and the event log. No card number and no secret is in it.
-- The service login sees the merchants its transaction names. The relay login moves events and finds attempts
-- that are due; of payments it reads nothing.

-- Without a setting, nothing is visible. Inside coalesce the condition is no index condition: statements find
-- their rows by the keys they name, and this only decides whether they may see them.
create function is_visible(merchant text) returns boolean language sql stable parallel safe
  return coalesce(merchant = any (string_to_array(current_setting('coffer.merchants', true), ',')), false);

-- What the platform knows of the vault's cards and connections: projections of their events.
create table card_facts (
  merchant_id text collate "C" not null,
  card_id text collate "C" not null,
  brand text not null,
  bin text not null,
  status text not null,
  primary key (merchant_id, card_id)
);

create table connections (
  merchant_id text collate "C" not null,
  connection_id text collate "C" not null,
  psp text not null,
  settings json not null,
  primary key (merchant_id, connection_id)
);

create table payments (
  merchant_id text collate "C" not null,
  payment_id text collate "C" not null,
  status text not null check (status in ('processing', 'requires_action', 'authorized', 'captured', 'canceled',
    'declined', 'failed', 'unknown')),
  amount_minor bigint not null check (amount_minor between 1 and 99999999999),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  card_id text collate "C" not null,
  capture text not null check (capture in ('automatic', 'manual')),
  initiator text not null check (initiator in ('customer', 'merchant')),
  reference text check (length(reference) <= 255),
  metadata json not null,
  decline json,
  failure json,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (merchant_id, payment_id)
);
create index payments_reference on payments (reference, merchant_id, payment_id) where reference is not null;

create table attempts (
  merchant_id text collate "C" not null,
  attempt_id text collate "C" not null,
  payment_id text collate "C" not null,
  connection_id text collate "C" not null,
  psp text not null,
  state text not null check (state in ('sending', 'pending', 'unknown', 'action_required', 'approved', 'declined',
    'rejected', 'not_sent')),
  psp_reference text check (length(psp_reference) <= 255),
  network_transaction_id text check (length(network_transaction_id) <= 64),
  -- Why the outcome is not known, in a word.
  cause text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  -- When the resolver looks at it, by the database's clock; null when there is nothing to resolve.
  resolve_at timestamptz,
  resolve_tries integer not null default 0,
  primary key (merchant_id, payment_id, attempt_id),
  foreign key (merchant_id, payment_id) references payments
);
-- Never two attempts of one payment that are under way or have succeeded. No index beside the primary key begins
-- with the merchant: on a table that is still small, the planner could take it for just as good.
create unique index attempts_one_live on attempts (payment_id, merchant_id)
  where state in ('sending', 'pending', 'unknown', 'action_required', 'approved');
create index attempts_due on attempts (resolve_at) where resolve_at is not null;

-- What moved: amounts are sums of these. An entry is added, never changed.
create table payment_entries (
  merchant_id text collate "C" not null,
  payment_id text collate "C" not null,
  attempt_id text collate "C" not null,
  kind text not null check (kind in ('authorization', 'capture')),
  amount_minor bigint not null check (amount_minor > 0),
  created_at timestamptz not null,
  primary key (merchant_id, payment_id, kind, attempt_id),
  foreign key (merchant_id, payment_id) references payments
);

create table audit_records (
  audit_id text collate "C" primary key,
  merchant_id text collate "C" not null,
  at timestamptz not null default now(),
  actor text not null,
  key_id text not null,
  action text not null,
  object_id text not null,
  request_id text not null,
  source_address text not null,
  reason text,
  result text not null
);

-- Without a response the request is still running, or its process died: then the lease runs out and the
-- object tells what became of it.
create table idempotency_records (
  merchant_id text collate "C" not null,
  operation text not null,
  idempotency_key text collate "C" not null,
  body_hmac bytea not null check (length(body_hmac) = 32),
  object_id text not null,
  response_status smallint,
  response_body text,
  lease_until timestamptz not null,
  expires_at timestamptz not null,
  primary key (merchant_id, operation, idempotency_key),
  check ((response_status is null) = (response_body is null))
);
create index idempotency_records_expiry on idempotency_records using brin (expires_at);

create table outbox (
  position bigint generated always as identity,
  event_id text collate "C" primary key,
  merchant_id text collate "C" not null,
  type text not null,
  object_id text not null,
  data json not null,
  created_at timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
create index outbox_position on outbox (position);

alter table card_facts enable row level security;
alter table connections enable row level security;
alter table payments enable row level security;
alter table attempts enable row level security;
alter table payment_entries enable row level security;
alter table audit_records enable row level security;
alter table idempotency_records enable row level security;
alter table outbox enable row level security;

create policy merchant on card_facts to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on connections to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on payments to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on attempts to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on payment_entries to coffer_platform_service
  using (is_visible(merchant_id));
create policy merchant on audit_records to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on idempotency_records to coffer_platform_service
  using (is_visible(merchant_id));
create policy merchant on outbox to coffer_platform_service using (is_visible(merchant_id));
create policy relay on card_facts to coffer_platform_relay using (true);
create policy relay on connections to coffer_platform_relay using (true);
create policy relay on attempts to coffer_platform_relay using (true);
create policy relay on outbox to coffer_platform_relay using (true);
create policy expired on idempotency_records to coffer_platform_relay using (expires_at < now());

grant select on card_facts, connections to coffer_platform_service;
grant select, insert, update (status, decline, failure, updated_at) on payments to coffer_platform_service;
grant select, insert, update (state, psp_reference, network_transaction_id, cause,
  updated_at, resolve_at) on attempts to coffer_platform_service;
grant select, insert on payment_entries to coffer_platform_service;
grant insert on audit_records, outbox to coffer_platform_service;
grant select, insert, update (response_status, response_body) on idempotency_records to coffer_platform_service;
grant select, insert, update (brand, bin, status) on card_facts to coffer_platform_relay;
grant select, insert, update (psp, settings) on connections to coffer_platform_relay;
grant select (merchant_id, payment_id, attempt_id, state, created_at, resolve_at, resolve_tries),
  update (resolve_at, resolve_tries) on attempts to coffer_platform_relay;
grant select, delete on outbox to coffer_platform_relay;
grant select (expires_at, merchant_id, operation, idempotency_key), delete on idempotency_records
  to coffer_platform_relay;
