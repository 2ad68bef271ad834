/** Parts of statements that carry out a request once for its Idempotency-Key and give its answer again after that. */
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { type Fingerprints, withEachBodyKey } from '../keys/fingerprints.ts'

export type Keyed = { idempotency_key: string | null; body_hmac: Buffer | null; response_body: string }

/** The first parameters of every such statement: merchant, object, key, hash of the body, answer. */
export const keyedValues = (entry: Keyed & { merchant_id: string; object_id: string }) => [
  entry.merchant_id,
  entry.object_id,
  entry.idempotency_key,
  entry.body_hmac,
  entry.response_body,
]

export const knownKey = (operation: string) => `known as materialized (
    select body_hmac = $4::bytea as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = '${operation}' and idempotency_key = $3
  )`

/** A key that another request takes at this moment fails the statement, and with it what the key stands for. */
export const keptKey = (operation: string, status: number) => `kept_key as (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id,
      response_status, response_body, expires_at)
    select $1, '${operation}', $3, $4::bytea, $2, ${status}, $5::text, now() + interval '24 hours'
    from changed where $3::text is not null
  )`

export const answerOfKnown = `select exists (select from changed) as written, known.same_body,
    known.response_status, known.response_body
  from (values (1)) as one left join known on true`

export type KeyedRow = {
  written: boolean
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
}

export type Keyedness =
  | { verdict: 'answered'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  | { verdict: 'nothing_written' }

export function verdictOf(row: KeyedRow, written: StoredAnswer): Keyedness {
  if (row.written) return { verdict: 'answered', answer: written }
  if (row.response_status === null) return { verdict: 'nothing_written' }
  if (row.same_body !== true) return { verdict: 'body_differs' }
  return { verdict: 'answered', answer: { status: row.response_status, body: row.response_body! } }
}

/**
 * Carries a request out once for its key. Undefined where nothing was written and no earlier answer is known.
 * @throws Failure idempotency_key_reused
 */
export async function once(
  fingerprints: Fingerprints,
  request: { key: string | null; body: Record<string, unknown>; answer: StoredAnswer },
  write: (keyed: Keyed) => Promise<KeyedRow>,
): Promise<StoredAnswer | undefined> {
  const { key, body, answer } = request
  const found = await withEachBodyKey(fingerprints, ({ bodyKey }) => {
    const body_hmac = key === null ? null : bodyHmac(bodyKey, body)
    return askedAgain(async () =>
      verdictOf(await write({ idempotency_key: key, body_hmac, response_body: answer.body }), answer),
    )
  })
  if (found.verdict === 'body_differs') throw keyReused()
  return found.verdict === 'answered' ? found.answer : undefined
}

/** Two requests with one key at once: the one that lost finds the other's answer when it asks again. */
async function askedAgain<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return await run()
  } catch (error) {
    const { code, constraint } = error as { code?: string; constraint?: string }
    if (code === '23505' && constraint === 'idempotency_records_pkey') return run()
    throw error
  }
}
