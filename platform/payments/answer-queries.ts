/** The answers that are kept under idempotency keys. */
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type EarlierIntent, earlierIntent, type IntentRow } from './queries.ts'

export type AnswerKey = { merchant_id: string; operation: string; idempotency_key: string }

/** Keeps the first answer of a key, and gives the one that is kept. */
export async function storeAnswer(
  database: Database,
  key: AnswerKey,
  answer: StoredAnswer,
): Promise<StoredAnswer> {
  const rows = await database.commit<{ response_status: number; response_body: string }>([key.merchant_id], {
    name: 'store_answer',
    text: `update idempotency_records
           set response_status = coalesce(response_status, $4), response_body = coalesce(response_body, $5)
           where merchant_id = $1 and operation = $2 and idempotency_key = $3
           returning response_status, response_body`,
    values: [key.merchant_id, key.operation, key.idempotency_key, answer.status, answer.body],
  })
  const kept = rows[0]
  return kept === undefined ? answer : { status: kept.response_status, body: kept.response_body }
}

/** What became of an earlier request with this key, where there was one: nothing is written. */
export async function findIntent(
  database: Database,
  merchantId: string,
  idempotencyKey: string,
  bodyHmac: Buffer,
): Promise<EarlierIntent | undefined> {
  const rows = await database.read<IntentRow & { object_id: string }>([merchantId], {
    name: 'find_intent',
    text: `select body_hmac = $3 as same_body, lease_until > now() as leased, object_id, response_status,
             response_body
           from idempotency_records
           where merchant_id = $1 and operation = 'payments.create' and idempotency_key = $2`,
    values: [merchantId, idempotencyKey, bodyHmac],
  })
  return rows[0] && earlierIntent(rows[0])
}
