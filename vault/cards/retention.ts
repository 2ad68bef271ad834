/**
 * Deletes cards that expired longer ago than their merchant keeps them: a run a day and merchant, which goes through all
 * its cards, a page at a time. A run that was missed is made up for by the next one, because it looks at what has
 * expired and not at when; one that a process began and did not end goes on where it stood.
 */
import { newId } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'
import type { Clock } from '@coffer/core/time.ts'
import { deleteCards } from './deletion-queries.ts'
import { claimRun, findExpiring, saveProgress } from './retention-queries.ts'
import { isExpired } from './validation.ts'

type Deps = { database: Database; relayDatabase: Database; clock: Clock }

const cardsAPage = 500
const pauseMs = 60_000
/** Between two pages, so that requests come first. */
const breatherMs = 100

export function startRetention(deps: Deps & { log: Log }): Repeating {
  return startRepeating(async () => {
    const isWorking = await deleteExpiredPage(deps).catch((error: unknown) => {
      deps.log.warn({ error }, 'expired cards were not deleted; tried again later')
      return false
    })
    return isWorking ? breatherMs : pauseMs
  })
}

/** A page of the run that is due the longest; false where none is. */
export async function deleteExpiredPage({ database, relayDatabase, clock }: Deps): Promise<boolean> {
  const now = clock.now()
  const run = await claimRun(relayDatabase, now)
  if (run === undefined) return false
  const { merchant_id, expired_cards_kept_days } = run
  const cards = await findExpiring(database, merchant_id, run.retention_after_card_id, cardsAPage)
  const then = new Date(now.getTime() - expired_cards_kept_days * 86_400_000)
  const expired = cards.filter(({ exp_month, exp_year }) => isExpired(exp_month, exp_year, then))
  const deletions = expired.map(({ card_id, card_version_id }) => ({
    merchant_id,
    card_id,
    // One that got another expiry meanwhile stays.
    card_version_id,
    actor: 'coffer',
    key_id: '',
    request_id: '',
    source_address: '',
    audit_id: newId('audit'),
    event_id: newId('event'),
    at: now.toISOString(),
    reason: `expired for ${expired_cards_kept_days} days`,
  }))
  const deleted = deletions.length === 0 ? [] : await deleteCards(database, deletions)
  await saveProgress(database, {
    ...run,
    deleted: deleted.filter(Boolean).length,
    next_after_card_id: cards.length < cardsAPage ? null : cards.at(-1)!.card_id,
    now,
    audit_id: newId('audit'),
  })
  return true
}
