import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Suspicion } from './card-testing-guard.ts'

/** Tells the merchant's event log of a suspicion. */
export async function tellSuspicion(
  database: Database,
  merchantId: string,
  { subject, declined_cards, approvals, until }: Suspicion,
): Promise<void> {
  const data = {
    object: 'card_testing_suspicion',
    subject: subject.kind,
    value: subject.value,
    declined_cards,
    approvals,
    refused_until: until.toISOString(),
  }
  await database.commit([merchantId], {
    name: 'tell_suspicion',
    text: `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           values ($1, $2, 'card_testing.suspected', $3, $4, now())`,
    values: [newId('event'), merchantId, subject.value, JSON.stringify(data)],
  })
}
