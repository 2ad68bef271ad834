import type { Database } from '@coffer/core/postgres.ts'
import type { DueOperation } from '../operations/resolve.ts'
import type { AttemptState } from './machine.ts'
import type { AttemptKey } from './read-queries.ts'

export type DueAttempt = AttemptKey & { state: AttemptState; resolve_tries: number }

/** What can be left open: a table, with the name of its own id. */
const ids = { attempts: 'attempt_id', operations: 'operation_id' } as const
type Open = { attempts: DueAttempt; operations: DueOperation }

/** Takes what is due, for half a minute: whoever dies with it leaves it due again. */
export function claimDue<Table extends keyof Open>(
  database: Database,
  table: Table,
  limit: number,
): Promise<Open[Table][]> {
  const id = ids[table]
  return database.commit<Open[Table]>([], {
    name: `claim_due_${table}`,
    text: `with due as materialized (
             select merchant_id, payment_id, ${id} from ${table} where resolve_at <= now()
             order by resolve_at limit $1 for update skip locked)
           update ${table} set resolve_at = now() + interval '30 seconds', resolve_tries = resolve_tries + 1
           from due
           where ${table}.merchant_id = due.merchant_id and ${table}.payment_id = due.payment_id
             and ${table}.${id} = due.${id}
           returning ${table}.merchant_id, ${table}.payment_id, ${table}.${id}, ${table}.state,
             ${table}.resolve_tries`,
    values: [limit],
  })
}

/** Age of the oldest attempt or operation whose outcome is not known (0 without one), and how many are parked. */
export async function openSummary(database: Database): Promise<{ oldest_seconds: number; parked: number }> {
  const rows = await database.read<{ oldest_seconds: number | null; parked: number }>([], {
    name: 'summary_of_open',
    text: `select extract(epoch from now() - min(created_at) filter (where state in ('unknown', 'pending')))::float8
             as oldest_seconds, count(parked_at)::int as parked
           from (
             select created_at, state, parked_at from attempts where resolve_at is not null
             union all
             select created_at, state, parked_at from operations where resolve_at is not null) open`,
    values: [],
  })
  return { oldest_seconds: rows[0]?.oldest_seconds ?? 0, parked: rows[0]?.parked ?? 0 }
}

/** 1 s, 2 s, 4 s … at most 5 minutes between two looks at the same attempt. */
export function pauseMs(tries: number): number {
  return Math.min(1_000 * 2 ** Math.min(tries, 20), 300_000)
}

/** Asked so often, for about an hour, it waits for a person. It is asked for on, in case the PSP can tell after all. */
const parkedAfterTries = 20

export async function askAgain<Table extends keyof Open>(
  database: Database,
  table: Table,
  due: Open[Table],
): Promise<void> {
  const id = 'attempt_id' in due ? due.attempt_id : due.operation_id
  await database.commit([], {
    name: `ask_again_${table}`,
    text: `update ${table} set resolve_at = now() + $3 * interval '1 ms',
             parked_at = case when resolve_tries >= $5 then coalesce(parked_at, now()) end
           where merchant_id = $1 and payment_id = $4 and ${ids[table]} = $2 and resolve_at is not null`,
    values: [due.merchant_id, id, pauseMs(due.resolve_tries), due.payment_id, parkedAfterTries],
  })
}
