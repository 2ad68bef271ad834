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
