-- What cardholders have agreed to: that their card is kept, and what it may be charged for. With it the network's
-- identifiers of the first payment, which later ones refer to, through whichever PSP they go.
create table agreements (
  merchant_id text collate "C" not null,
  agreement_id text collate "C" not null,
  card_id text collate "C" not null,
  usage text not null check (usage in ('card_on_file', 'subscription', 'installment', 'unscheduled')),
  status text not null check (status in ('pending', 'active', 'ended')),
  ended_reason text check (ended_reason in ('first_payment_failed', 'ended_by_merchant', 'card_deleted')),
  customer text check (length(customer) <= 255),
  description text check (length(description) <= 500),
  consented_at timestamptz not null,
  -- Whose identifiers these are. Verbatim: opaque, case-sensitive, spaces at the end included.
  network text,
  network_transaction_id text check (length(network_transaction_id) between 1 and 64),
  transaction_link_id text check (length(transaction_link_id) between 1 and 64),
  -- None where the consent was given elsewhere.
  first_payment_id text collate "C",
  first_connection_id text collate "C",
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (merchant_id, agreement_id),
  foreign key (merchant_id, first_payment_id) references payments,
  check ((status = 'ended') = (ended_reason is not null)),
  check (status <> 'pending' or first_payment_id is not null)
);
create index agreements_card on agreements (card_id, merchant_id, agreement_id);

-- What a payment's requests say of the consent: kept as it was when the payment began, because a request that is sent
-- again must be the same, whatever has become of the agreement.
alter table payments
  add column agreement_id text collate "C",
  add column stored_credential json;
alter table attempts
  add column transaction_link_id text check (length(transaction_link_id) <= 64);

alter table agreements enable row level security;
create policy merchant on agreements to coffer_platform_service using (is_visible(merchant_id));
create policy relay on agreements to coffer_platform_relay using (true);

grant select, insert, update (status, ended_reason, network, network_transaction_id, transaction_link_id,
  first_connection_id, updated_at) on agreements to coffer_platform_service;
-- An agreement ends with its card, and identifiers end with the network: the sequencer sees the card's events.
grant select, update (status, ended_reason, network, network_transaction_id, transaction_link_id, updated_at)
  on agreements to coffer_platform_relay;
grant insert on outbox to coffer_platform_relay;
grant update (transaction_link_id) on attempts to coffer_platform_service;
