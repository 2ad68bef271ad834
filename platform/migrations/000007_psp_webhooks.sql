-- What PSPs tell by themselves. Stored before it is acknowledged, carried out behind that.
create table psp_webhooks (
  merchant_id text collate "C" not null,
  webhook_id text collate "C" not null,
  connection_id text collate "C" not null,
  -- The PSP's own: the same when the notice is sent again.
  event_id text collate "C" not null check (length(event_id) between 1 and 255),
  type text not null check (length(type) between 1 and 100),
  about text not null check (about in ('attempt', 'operation', 'dispute', 'other', 'unreadable')),
  occurred_at timestamptz,
  received_at timestamptz not null default now(),
  -- What the connector read in it, and the text it read, until that is old.
  notice json,
  body text check (length(body) <= 1100000),
  -- For whoever removes old texts and may read none.
  has_body boolean not null default true,
  -- What came of it; null while that is open, and then it is due.
  result text check (result in ('settled', 'known', 'late', 'reversed', 'contradicts', 'unmatched', 'kept')),
  payment_id text collate "C",
  due_at timestamptz default now(),
  tries integer not null default 0,
  -- Since when it is not expected to go through by itself.
  parked_at timestamptz,
  primary key (merchant_id, webhook_id),
  check ((result is null) = (due_at is not null)),
  check (has_body = (body is not null))
);
create unique index psp_webhooks_once on psp_webhooks (connection_id, event_id, merchant_id);
create index psp_webhooks_due on psp_webhooks (due_at) where due_at is not null;
create index psp_webhooks_with_body on psp_webhooks (received_at) where has_body;

-- A cardholder's dispute of a payment, by the latest that its PSP has told.
create table disputes (
  merchant_id text collate "C" not null,
  dispute_id text collate "C" not null,
  payment_id text collate "C" not null,
  connection_id text collate "C" not null,
  psp_reference text collate "C" not null check (length(psp_reference) between 1 and 255),
  status text not null check (status in ('inquiry', 'opened', 'won', 'lost')),
  amount_minor bigint check (amount_minor between 0 and 99999999999),
  currency text check (currency ~ '^[A-Z]{3}$'),
  reason text check (length(reason) <= 200),
  -- What the PSP has taken back of the payment because of it.
  charged_back_minor bigint not null default 0 check (charged_back_minor >= 0),
  -- When the PSP says that it came to this status.
  told_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (merchant_id, dispute_id),
  foreign key (merchant_id, payment_id) references payments,
  check ((amount_minor is null) = (currency is null))
);
create unique index disputes_once on disputes (connection_id, psp_reference, merchant_id);
create index disputes_of_payment on disputes (payment_id, merchant_id, dispute_id);

-- A reversal is an entry below zero, of the same kind as what it takes back. A chargeback is no refund.
alter table payment_entries drop constraint payment_entries_kind_check;
alter table payment_entries add constraint payment_entries_kind_check
  check (kind in ('authorization', 'capture', 'refund', 'chargeback'));
alter table payment_entries drop constraint payment_entries_amount_minor_check;
alter table payment_entries add constraint payment_entries_amount_minor_check check (amount_minor <> 0);

-- When its PSP took back what had succeeded; the state of an operation that has ended never changes.
alter table operations add column reversed_at timestamptz;
alter table operations add constraint operations_reversed check (reversed_at is null or state = 'succeeded');

-- A notice names an attempt or an operation by our id or by the PSP's. Ids of ours grow, so those indexes grow at
-- their end.
create index attempts_by_id on attempts (attempt_id, merchant_id);
create index attempts_by_reference on attempts (psp_reference, merchant_id) where psp_reference is not null;
create index operations_by_id on operations (operation_id, merchant_id);
create index operations_by_reference on operations (psp_reference, merchant_id) where psp_reference is not null;
create index connections_by_id on connections (connection_id);

alter table psp_webhooks enable row level security;
alter table disputes enable row level security;
create policy merchant on psp_webhooks to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on disputes to coffer_platform_service using (is_visible(merchant_id));
create policy relay on psp_webhooks to coffer_platform_relay using (true);

grant select, insert, update (result, payment_id, due_at, parked_at) on psp_webhooks to coffer_platform_service;
grant select, insert, update (status, amount_minor, currency, reason, charged_back_minor, told_at, updated_at)
  on disputes to coffer_platform_service;
grant update (reversed_at) on operations to coffer_platform_service;
grant select (merchant_id, webhook_id, received_at, has_body, due_at, tries, parked_at),
  update (due_at, tries, parked_at, body, has_body) on psp_webhooks to coffer_platform_relay;
