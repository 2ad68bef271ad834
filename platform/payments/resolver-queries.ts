import type { Database } from '@coffer/core/postgres.ts'
import type { AttemptState } from './machine.ts'
import type { AttemptKey } from './read-queries.ts'

export type DueAttempt = AttemptKey & { state: AttemptState; resolve_tries: number }

/** Takes attempts that are due, for half a minute: whoever dies with them leaves them due again. */
export function claimDue(database: Database, limit: number): Promise<DueAttempt[]> {
  return database.commit<DueAttempt>([], {
    name: 'claim_due_attempts',
    text: `with due as materialized (
             select merchant_id, payment_id, attempt_id from attempts where resolve_at <= now()
             order by resolve_at limit $1 for update skip locked)
           update attempts set resolve_at = now() + interval '30 seconds', resolve_tries = resolve_tries + 1
           from due
           where attempts.merchant_id = due.merchant_id and attempts.payment_id = due.payment_id
             and attempts.attempt_id = due.attempt_id
           returning attempts.merchant_id, attempts.payment_id, attempts.attempt_id, attempts.state, attempts.resolve_tries`,
    values: [limit],
  })
}

/** Age of the oldest attempt whose outcome is not known; 0 where every outcome is. */
export async function oldestUnknownSeconds(database: Database): Promise<number> {
  const rows = await database.read<{ seconds: number | null }>([], {
    name: 'oldest_unknown_attempt',
    text: `select extract(epoch from now() - min(created_at))::float8 as seconds from attempts
           where resolve_at is not null and state in ('unknown', 'pending')`,
    values: [],
  })
  return rows[0]?.seconds ?? 0
}

/** 1 s, 2 s, 4 s … at most 5 minutes between two looks at the same attempt. */
export function pauseMs(tries: number): number {
  return Math.min(1_000 * 2 ** Math.min(tries, 20), 300_000)
}

export async function askAgain(database: Database, due: DueAttempt): Promise<void> {
  await database.commit([], {
    name: 'ask_again',
    text: `update attempts set resolve_at = now() + $3 * interval '1 ms'
           where merchant_id = $1 and payment_id = $4 and attempt_id = $2 and resolve_at is not null`,
    values: [due.merchant_id, due.attempt_id, pauseMs(due.resolve_tries), due.payment_id],
  })
}
