-- What is done to a payment after its authorization: captures, cancels, refunds. Each row is an intent that is
-- committed before anything is sent, as an attempt is.
create table operations (
  merchant_id text collate "C" not null,
  operation_id text collate "C" not null,
  payment_id text collate "C" not null,
  kind text not null check (kind in ('capture', 'cancel', 'refund')),
  amount_minor bigint not null check (amount_minor between 1 and 99999999999),
  reason text check (length(reason) <= 50),
  -- The attempt whose authorization it is about.
  attempt_id text collate "C" not null,
  state text not null check (state in ('sending', 'pending', 'unknown', 'succeeded', 'failed')),
  psp_reference text check (length(psp_reference) <= 255),
  failure json,
  cause text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  resolve_at timestamptz,
  resolve_tries integer not null default 0,
  -- Since when it is not expected to settle by itself.
  parked_at timestamptz,
  primary key (merchant_id, payment_id, operation_id),
  foreign key (merchant_id, payment_id, attempt_id) references attempts,
  check ((state = 'failed') = (failure is not null))
);
-- A hold is captured or let go of by one operation at a time.
create unique index operations_one_at_the_hold on operations (payment_id, merchant_id)
  where kind in ('capture', 'cancel') and state in ('sending', 'pending', 'unknown');
create index operations_due on operations (resolve_at) where resolve_at is not null;

alter table attempts add column parked_at timestamptz;

-- An entry comes from an attempt or from an operation.
alter table payment_entries rename column attempt_id to source_id;
alter table payment_entries drop constraint payment_entries_kind_check;
alter table payment_entries add constraint payment_entries_kind_check
  check (kind in ('authorization', 'capture', 'refund'));

-- An operation reserves its amount with its intent, and gives it back only when it has definitely failed. So what
-- is under way together with what is done can never be more than there is, whoever asks at the same time.
alter table payments
  add column authorized_minor bigint not null default 0,
  add column captured_minor bigint not null default 0,
  add column capture_reserved_minor bigint not null default 0,
  add column refund_reserved_minor bigint not null default 0,
  add column cancel_reserved boolean not null default false;
update payments set authorized_minor = moved.authorized, captured_minor = moved.captured,
  capture_reserved_minor = moved.captured
from (
  select merchant_id, payment_id, coalesce(sum(amount_minor) filter (where kind = 'authorization'), 0) as authorized,
    coalesce(sum(amount_minor) filter (where kind = 'capture'), 0) as captured
  from payment_entries group by merchant_id, payment_id) moved
where payments.merchant_id = moved.merchant_id and payments.payment_id = moved.payment_id;
alter table payments
  add constraint payments_authorized check (authorized_minor between 0 and amount_minor),
  add constraint payments_captured check (captured_minor between 0 and capture_reserved_minor),
  add constraint payments_capture_reserved check (capture_reserved_minor <= authorized_minor),
  add constraint payments_refund_reserved check (refund_reserved_minor between 0 and captured_minor),
  add constraint payments_capture_beside_cancel check (not (cancel_reserved and capture_reserved_minor > 0));

-- For lists. The status is in no index on purpose: a payment that settles would have to be written into each.
create index payments_card on payments (card_id, merchant_id, payment_id);

alter table operations enable row level security;
create policy merchant on operations to coffer_platform_service using (is_visible(merchant_id));
create policy relay on operations to coffer_platform_relay using (true);

grant update (authorized_minor, captured_minor, capture_reserved_minor, refund_reserved_minor, cancel_reserved)
  on payments to coffer_platform_service;
grant select, insert, update (state, psp_reference, failure, cause, updated_at, resolve_at) on operations
  to coffer_platform_service;
grant select (merchant_id, payment_id, operation_id, state, created_at, resolve_at, resolve_tries, parked_at),
  update (resolve_at, resolve_tries, parked_at) on operations to coffer_platform_relay;
grant select (parked_at), update (parked_at) on attempts to coffer_platform_relay;
