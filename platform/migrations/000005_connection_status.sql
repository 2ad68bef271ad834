alter table connections add column status text not null default 'active' check (status in ('active', 'disabled'));
alter table connections alter column status drop default;
grant update (status) on connections to coffer_platform_relay;
