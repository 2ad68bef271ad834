/** How often cards are used: one row a card, with a number for each of the last 30 days, in UTC. */
import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf, merchantsOf } from '@coffer/core/rows.ts'

const dayText = (moment: string) => `to_char(${moment}, 'YYYY-MM-DD')`
const today = dayText(`now() at time zone 'UTC'`)
const firstDay = dayText(`now() at time zone 'UTC' - interval '29 days'`)

/** Of a card's use, beside the card. */
export const itsUsage = `left join lateral (
  select last_used_at, attempts_by_day from card_usage
  where merchant_id = card.merchant_id and card_id = card.card_id limit 1) usage on true`
export const usageColumns = `usage.last_used_at, case when usage.attempts_by_day is null then 0 else (
  select coalesce(sum(value::int), 0)::int from jsonb_each_text(usage.attempts_by_day) where key >= ${firstDay}
  ) end as attempts_30_days`

export type UsedCard = { merchant_id: string; card_id: string; attempts: number }

/** Adds to what there is; days that are over for good are left out. In the order of the keys, so two cannot deadlock. */
export async function addUsage(database: Database, cards: UsedCard[]): Promise<void> {
  await database.commit(merchantsOf(cards), {
    name: 'add_card_usage',
    text: `insert into card_usage as usage (merchant_id, card_id, last_used_at, attempts_by_day)
           select merchant_id, card_id, now(), jsonb_build_object(${today}, attempts)
           from unnest($1::text[], $2::text[], $3::int[]) as input (merchant_id, card_id, attempts)
           order by merchant_id, card_id
           on conflict (merchant_id, card_id) do update
             set last_used_at = greatest(usage.last_used_at, excluded.last_used_at), attempts_by_day = (
               select jsonb_object_agg(day, attempts) from (
                 select key as day, sum(value::int) as attempts from (
                   select * from jsonb_each_text(usage.attempts_by_day)
                   union all select * from jsonb_each_text(excluded.attempts_by_day)) as counted
                 where key >= ${firstDay} group by key) as kept)`,
    values: columnsOf(cards, ['merchant_id', 'card_id', 'attempts']),
  })
}
