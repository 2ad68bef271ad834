-- What the retry governor goes by. An attempt keeps which number it charged: by the time it is settled, the card may
-- have another one.
alter table card_facts
  add column fingerprint text collate "C",
  add column version text collate "C";
grant update (fingerprint, version) on card_facts to coffer_platform_relay;

alter table attempts
  add column card_brand text,
  add column card_fingerprint text collate "C",
  add column card_version text collate "C";

-- What was declined lately of a card's number at a merchant, through whichever PSP. A row begins with the first
-- decline; whoever would charge a number that has one locks it and decides by it.
create table retry_states (
  merchant_id text collate "C" not null,
  fingerprint text collate "C" not null,
  -- What stood in for the card: its number, or a token of its network.
  credential text collate "C" not null check (credential in ('number', 'network_token')),
  -- When the declined attempts were settled, those of the last 30 days, by who had initiated them.
  customer_declined_at timestamptz[] not null,
  merchant_declined_at timestamptz[] not null,
  -- Attempts under way that may still be declined, by their id.
  slots jsonb not null,
  -- What forbids another charge, and until when.
  holds jsonb not null,
  -- From then on nothing of it counts any more.
  expires_at timestamptz not null,
  primary key (merchant_id, fingerprint, credential)
);
create index retry_states_expiry on retry_states (expires_at);

-- The newest hundred of the last 30 days: more than any limit there is.
create function recent_declines(declined_at timestamptz[]) returns timestamptz[] language sql stable
  return array(select at from unnest(declined_at) at where at > now() - interval '30 days'
    order by at desc limit 100);

-- A hold stands for every earlier one like it.
create function kept_holds(holds jsonb, added jsonb) returns jsonb language sql stable
  return coalesce((select jsonb_agg(hold) from jsonb_array_elements(holds) hold
    where (hold ->> 'until' is null or (hold ->> 'until')::timestamptz > now())
      and not exists (select from jsonb_array_elements(added) other where other - 'until' = hold - 'until')),
    '[]') || added;

alter table retry_states enable row level security;
create policy merchant on retry_states to coffer_platform_service using (is_visible(merchant_id));
create policy expired on retry_states to coffer_platform_relay using (expires_at < now());
grant select, insert, update (customer_declined_at, merchant_declined_at, slots, holds, expires_at) on retry_states
  to coffer_platform_service;
grant select (expires_at, merchant_id, fingerprint, credential), delete on retry_states to coffer_platform_relay;

-- Retries that a payment asked for: after which delays, as the merchant's plan was when it began. Null for none.
alter table payments add column retry json;

create table retry_plans (
  merchant_id text collate "C" primary key,
  delays_seconds integer[] not null check (cardinality(delays_seconds) between 1 and 20),
  updated_at timestamptz not null
);

-- Payments that wait for their next attempt.
create table retry_schedule (
  merchant_id text collate "C" not null,
  payment_id text collate "C" not null,
  card_id text collate "C" not null,
  due_at timestamptz not null,
  gives_up_at timestamptz not null,
  -- For other data of its card: then it is due at once, and else gives up.
  waits_for_card boolean not null,
  -- While a process has it in hand, by the database's clock.
  lease_until timestamptz,
  primary key (merchant_id, payment_id),
  foreign key (merchant_id, payment_id) references payments
);
create index retry_schedule_due on retry_schedule (due_at);
create index retry_schedule_card on retry_schedule (card_id, merchant_id);

alter table retry_plans enable row level security;
alter table retry_schedule enable row level security;
create policy merchant on retry_plans to coffer_platform_service using (is_visible(merchant_id));
create policy merchant on retry_schedule to coffer_platform_service using (is_visible(merchant_id));
create policy relay on retry_schedule to coffer_platform_relay using (true);
grant select, insert, update (delays_seconds, updated_at) on retry_plans to coffer_platform_service;
grant select, insert, delete, update (card_id, due_at, gives_up_at, waits_for_card, lease_until) on retry_schedule
  to coffer_platform_service;
grant select, update (due_at, lease_until) on retry_schedule to coffer_platform_relay;
