-- A disabled connection takes no new payments. It is never deleted: captures, refunds and look-ups of payments that
-- went through it need it for months.
alter table connections add column status text not null default 'active' check (status in ('active', 'disabled'));
alter table connections alter column status drop default;
grant update (status) on connections to coffer_vault_service;
