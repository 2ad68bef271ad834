/** Statements of the relay's login: what is over is hidden at once, and deleted a few rows at a time. */
import type { Database } from '@coffer/core/postgres.ts'

/**
 * Before the keys of its payments are forgotten, which is after 30 days: a row that may have been sent must never be
 * sent without its key being known.
 */
const lifetimeDays = 14
const rowsAtOnce = 5_000

/** Cancels batches that nobody has gone on with in their time. */
export async function cancelForgotten(relayDatabase: Database): Promise<void> {
  await relayDatabase.commit([], {
    name: 'cancel_forgotten_payment_batches',
    text: `update payment_batches set status = 'canceled'
           where ended_at is null and status in ('queued', 'running', 'paused')
             and created_at < now() - make_interval(days => $1)`,
    values: [lifetimeDays],
  })
}

/** Uploads that were broken off, and batches that ended so many days ago: from here on nobody sees them. */
export async function hideOver(relayDatabase: Database, keptDays: number): Promise<void> {
  await relayDatabase.commitAll(
    [],
    [
      {
        name: 'hide_broken_payment_batches',
        text: `update payment_batches set status = 'removed'
               where ended_at is null and status = 'uploading' and leased_until < now()`,
        values: [],
      },
      {
        name: 'hide_ended_payment_batches',
        text: `update payment_batches set status = 'removed'
               where ended_at < now() - make_interval(days => $1) and status <> 'removed'`,
        values: [keptDays],
      },
    ],
  )
}

type Hidden = { merchant_id: string; batch_id: string }

/** Deletes some rows of what is hidden, or it itself when it has none any more. False where nothing is hidden. */
export async function removeSome(relayDatabase: Database): Promise<boolean> {
  const [hidden] = await relayDatabase.read<Hidden>([], {
    name: 'find_removed_payment_batch',
    text: `select merchant_id, batch_id from payment_batches where status = 'removed' limit 1`,
    values: [],
  })
  if (hidden === undefined) return false
  const place = [hidden.merchant_id, hidden.batch_id]
  const upTo = (table: string) =>
    `delete from ${table} where merchant_id = $1 and batch_id = $2 and row_number <= (
       select max(row_number) from (
         select row_number from ${table} where merchant_id = $1 and batch_id = $2
         order by merchant_id, batch_id, row_number limit $3) first)
     returning 1`
  for (const table of ['payment_batch_verdicts', 'payment_batch_rows']) {
    const name = `remove_${table}`
    const removed = await relayDatabase.commit([], {
      name,
      text: upTo(table),
      values: [...place, rowsAtOnce],
    })
    if (removed.length > 0) return true
  }
  await relayDatabase.commit([], {
    name: 'remove_payment_batch',
    text: `delete from payment_batches where merchant_id = $1 and batch_id = $2 and status = 'removed'`,
    values: place,
  })
  return true
}
