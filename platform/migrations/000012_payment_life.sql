-- The rest of a payment's life: an amount of zero asks whether a card is good, a hold can grow, and be captured in
-- several parts.
alter table payments drop constraint payments_status_check;
alter table payments add constraint payments_status_check check (status in ('processing', 'requires_action',
  'verified', 'authorized', 'captured', 'canceled', 'declined', 'failed', 'unknown'));
alter table payments drop constraint payments_amount_minor_check;
alter table payments add constraint payments_amount_minor_check check (amount_minor between 0 and 99999999999);

-- As with captures: an increment is reserved with its intent, and counts once its PSP has approved it. `capture_final`:
-- a capture that lets go of what is left is under way or done.
alter table payments
  add column incremented_minor bigint not null default 0,
  add column increment_reserved_minor bigint not null default 0,
  add column capture_final boolean not null default false;
alter table payments drop constraint payments_authorized;
alter table payments
  add constraint payments_authorized check (authorized_minor between 0 and amount_minor + incremented_minor),
  add constraint payments_incremented check (incremented_minor between 0 and increment_reserved_minor),
  add constraint payments_increment_alone check (increment_reserved_minor = incremented_minor
    or not cancel_reserved and capture_reserved_minor = captured_minor);

alter table operations drop constraint operations_kind_check;
alter table operations add constraint operations_kind_check
  check (kind in ('capture', 'cancel', 'refund', 'increment'));
alter table operations drop constraint operations_amount_minor_check;
-- What waits for its cardholder holds nothing; one that only verifies a card is for nothing, too.
alter table operations add constraint operations_amount_minor_check
  check (amount_minor between 0 and 99999999999 and (amount_minor > 0 or kind = 'cancel'));
-- Of a capture: whether it lets go of what is left.
alter table operations add column final boolean;
drop index operations_one_at_the_hold;
create unique index operations_one_at_the_hold on operations (payment_id, merchant_id)
  where kind in ('capture', 'cancel', 'increment') and state in ('sending', 'pending', 'unknown');

-- What has ended stays as it is, and nothing changes in another way than is declared in the code's tables of
-- transitions, whoever writes it. A test tries every pair.
create function refuse_undeclared_transition() returns trigger language plpgsql as $$
begin
  -- Everything may follow `processing`, and nearly every change is one of it.
  if old.status = 'processing' or old.status = new.status then
    return new;
  end if;
  if old.status || ' ' || new.status <> all (array[
    'unknown processing', 'unknown requires_action', 'unknown verified', 'unknown authorized', 'unknown captured',
    'unknown declined', 'unknown failed',
    'requires_action verified', 'requires_action authorized', 'requires_action captured', 'requires_action canceled',
    'requires_action declined', 'requires_action failed',
    'authorized captured', 'authorized canceled'])
  then
    raise exception 'a payment that is % does not become %', old.status, new.status using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger declared_transition before update of status on payments
  for each row execute function refuse_undeclared_transition();

create function refuse_change_after_end() returns trigger language plpgsql as $$
begin
  if old.state in ('approved', 'declined', 'rejected', 'not_sent', 'succeeded', 'failed') and old.state <> new.state
  then
    raise exception '% has ended and does not become %', old.state, new.state using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger ended_stays before update of state on attempts
  for each row execute function refuse_change_after_end();
create trigger ended_stays before update of state on operations
  for each row execute function refuse_change_after_end();

grant update (incremented_minor, increment_reserved_minor, capture_final) on payments to coffer_platform_service;
