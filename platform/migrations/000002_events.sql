-- The event log: one gap-free sequence a merchant, written by one fenced sequencer.
create table events (
  merchant_id text collate "C" not null,
  sequence bigint not null check (sequence > 0),
  event_id text collate "C" not null unique,
  type text not null,
  object_id text not null,
  data json not null,
  created_at timestamptz not null,
  primary key (merchant_id, sequence)
);

create table merchant_sequences (
  merchant_id text collate "C" primary key,
  last_sequence bigint not null check (last_sequence > 0)
);

-- Who may append. The fence grows with every change of hands; an append under an old one changes nothing.
create table sequencer_leases (
  name text primary key,
  fence bigint not null,
  holder text not null,
  expires_at timestamptz not null
);
insert into sequencer_leases (name, fence, holder, expires_at) values ('events', 0, 'nobody', now());

-- Events that could not be appended, kept out of the way of the others.
create table parked_events (
  event_id text collate "C" primary key,
  merchant_id text collate "C" not null,
  type text not null,
  object_id text not null,
  data text not null,
  created_at timestamptz not null,
  reason text not null,
  parked_at timestamptz not null default now()
);

alter table events enable row level security;
create policy merchant on events to coffer_platform_service using (is_visible(merchant_id));
create policy relay on events to coffer_platform_relay using (true);

grant select on events to coffer_platform_service;
grant select, insert on events, parked_events to coffer_platform_relay;
grant select, insert, update (last_sequence) on merchant_sequences to coffer_platform_relay;
grant select, update (fence, holder, expires_at) on sequencer_leases to coffer_platform_relay;
