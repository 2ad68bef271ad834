/**
 * Carries out what PSPs have told: each notice by itself, taken by its row, so that several processes share the work
 * and one that dies leaves it to the others. Carrying one out twice is as carrying it out once.
 */
import { failpoint } from '@coffer/core/failpoint.ts'
import { startMeasuring } from '@coffer/core/measuring.ts'
import { counter, gauge } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { startRepeating } from '@coffer/core/repeating.ts'
import { pauseMs } from '../payments/resolver-queries.ts'
import { noteDispute } from './disputes.ts'
import { noticeOf } from './notice-text.ts'
import * as queries from './queries.ts'
import { settleAttempt } from './settle-attempt.ts'
import { settleOperation } from './settle-operation.ts'
import { type Done, NotYet, type SettlingDeps } from './settling.ts'

export type WebhookWorkerDeps = SettlingDeps & {
  relayDatabase: Database
  /** How long the text of a notice is kept. */
  body_kept_days: number
}

const claimedMax = 20
const idlePauseMs = 250
const troublePauseMs = 1_000
/** Tried so often, for about an hour, it waits for a person. It is tried on. */
const parkedAfterTries = 20
const removedEveryMs = 60_000
const removedMax = 500

const carriedOut = counter(
  'coffer_psp_webhooks_carried_out_total',
  'Notices of PSPs by what came of them: settled, known, late, reversed, contradicts, unmatched or kept.',
  ['result'],
)
const oldest = gauge(
  'coffer_oldest_psp_webhook_seconds',
  'Age of the oldest notice of a PSP not yet carried out.',
)
const parked = gauge('coffer_parked_psp_webhooks', 'Notices of PSPs that a person should look at.')

export function startWebhookWorker(deps: WebhookWorkerDeps): { stop(): Promise<void> } {
  const working = startRepeating(async () => {
    try {
      const due = await queries.claimDueWebhooks(deps.relayDatabase, claimedMax)
      if (due.length > 0) failpoint('platform.webhook.after_claim')
      await Promise.all(due.map((each) => carryOut(deps, each)))
      return due.length === claimedMax ? 0 : idlePauseMs
    } catch (error) {
      deps.log.warn({ error }, 'webhooks could not be carried out; tried again')
      return troublePauseMs
    }
  })
  const removing = startRepeating(async () => {
    const removed = await queries
      .removeOldBodies(deps.relayDatabase, deps.body_kept_days)
      .catch((error: unknown) => {
        deps.log.warn({ error }, 'the texts of old webhooks were not removed; tried again later')
        return 0
      })
    return removed < removedMax ? removedEveryMs : 0
  })
  const measuring = startMeasuring(async () => {
    const open = await queries.webhooksSummary(deps.relayDatabase)
    oldest.set(open.oldest_seconds)
    parked.set(open.parked)
  })
  return {
    async stop() {
      await Promise.all([working.stop(), removing.stop(), measuring.stop()])
    },
  }
}

/** What goes wrong here leaves it due again. */
async function carryOut(deps: WebhookWorkerDeps, due: queries.DueWebhook): Promise<void> {
  try {
    const webhook = await queries.findDueWebhook(deps.database, due)
    if (webhook === undefined) return
    const done = await settleNotice(deps, webhook)
    failpoint('platform.webhook.after_settle')
    await queries.finishWebhook(deps.database, due, done)
    carriedOut.inc({ result: done.result })
    if (done.result === 'contradicts')
      deps.log.warn(
        { connection_id: webhook.connection_id, payment_id: done.payment_id },
        'a PSP contradicts itself',
      )
  } catch (error) {
    if (!(error instanceof NotYet))
      deps.log.warn({ tries: due.tries, error }, 'a webhook is not carried out yet')
    const again = { pause_ms: pauseMs(due.tries - 1), is_parked: due.tries >= parkedAfterTries }
    await queries.tryWebhookAgain(deps.relayDatabase, due, again).catch(() => {})
  }
}

/** A type that nothing is known of is kept, for a person or for a later version. */
export async function settleNotice(deps: SettlingDeps, webhook: queries.StoredWebhook): Promise<Done> {
  if (webhook.notice === null) return { result: 'kept', payment_id: null }
  const notice = noticeOf(webhook.notice)
  switch (notice.about) {
    case 'attempt':
      return settleAttempt(deps, webhook, notice)
    case 'operation':
      return settleOperation(deps, webhook, notice)
    case 'dispute':
      return noteDispute(deps, webhook, notice)
    case 'other':
      return { result: 'kept', payment_id: null }
  }
}
