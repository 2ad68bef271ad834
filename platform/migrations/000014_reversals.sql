-- What a PSP has done too late: a success of an attempt that was closed as something else moved money that no payment
-- shows. It is taken back by an operation of its own, which counts for nothing in the sums of the payment.
alter table operations drop constraint operations_kind_check;
alter table operations add constraint operations_kind_check
  check (kind in ('capture', 'cancel', 'refund', 'increment', 'reversal'));
-- Of a reversal: what is asked of the PSP, and what the PSP calls the payment that is taken back. The attempt has ended
-- without it, and what has ended stays as it is.
alter table operations add column reversal_step text check (reversal_step in ('cancel', 'refund'));
alter table operations add column reversed_reference text check (length(reversed_reference) <= 255);
alter table operations add constraint operations_reversal
  check ((kind = 'reversal') = (reversal_step is not null and reversed_reference is not null));
-- Taken back once, by whom and how often ever it is told.
create unique index operations_one_reversal on operations (attempt_id, merchant_id) where kind = 'reversal';
