import type { Database } from '@coffer/core/postgres.ts'
import type { AttemptState } from './machine.ts'

export type DueAttempt = {
  merchant_id: string
  attempt_id: string
  state: AttemptState
  resolve_tries: number
}

type ClaimRow = DueAttempt & { oldest_open_seconds: number }

/**
 * Takes attempts that are due, for half a minute: whoever dies with them leaves them due again. Also tells the
 * age of the oldest attempt that is still open past its first deadline.
 */
export async function claimDue(
  database: Database,
  limit: number,
): Promise<{ claimed: DueAttempt[]; oldest_open_seconds: number }> {
  const rows = await database.commit<{ [Name in keyof ClaimRow]: ClaimRow[Name] | null }>([], {
    name: 'claim_due_attempts',
    text: `with due as materialized (
             select merchant_id, attempt_id from attempts where resolve_at <= now()
             order by resolve_at limit $1 for update skip locked
           ), claimed as materialized (
             update attempts set resolve_at = now() + interval '30 seconds', resolve_tries = resolve_tries + 1
             from due
             where attempts.merchant_id = due.merchant_id and attempts.attempt_id = due.attempt_id
             returning attempts.merchant_id, attempts.attempt_id, attempts.state, attempts.resolve_tries,
               attempts.created_at)
           select claimed.merchant_id, claimed.attempt_id, claimed.state, claimed.resolve_tries,
             extract(epoch from now() - min(claimed.created_at) over ())::float8 as oldest_open_seconds
           from claimed`,
    values: [limit],
  })
  return { claimed: rows as DueAttempt[], oldest_open_seconds: rows[0]?.oldest_open_seconds ?? 0 }
}

/** 1 s, 2 s, 4 s … at most 5 minutes between two looks at the same attempt. */
export function pauseMs(tries: number): number {
  return Math.min(1_000 * 2 ** Math.min(tries, 20), 300_000)
}

export async function askAgain(database: Database, due: DueAttempt): Promise<void> {
  await database.commit([], {
    name: 'ask_again',
    text: `update attempts set resolve_at = now() + $3 * interval '1 ms'
           where merchant_id = $1 and attempt_id = $2 and resolve_at is not null`,
    values: [due.merchant_id, due.attempt_id, pauseMs(due.resolve_tries)],
  })
}
