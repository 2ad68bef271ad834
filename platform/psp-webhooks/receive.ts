/**
 * A PSP's notice on its way in: its signature is checked over the text as it came, before anything in it is believed;
 * then it is stored, once, and acknowledged. What it means for a payment is carried out behind that.
 */
import { createHash } from 'node:crypto'
import { maskCardNumbers } from '@coffer/core/card-number-detector.ts'
import type { Connector, Webhook, WebhookNotice, WebhookRequest } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { WebhookSignaturesCall, WebhookSignaturesChecked } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import { maskCardNumbersInJson } from '@coffer/core/masked-json.ts'
import { counter } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Limiter } from '@coffer/core/rate-limits.ts'
import type { Clock } from '@coffer/core/time.ts'
import { noticeText, storable } from './notice-text.ts'
import { findWebhookConnection, insertWebhooks, type NewWebhook, type WebhookConnection } from './queries.ts'

export type WebhookReceiver = ReturnType<typeof createWebhookReceiver>

export type WebhookReceiverDeps = {
  database: Database
  relayDatabase: Database
  vault: InternalClient
  connectors: ReadonlyMap<string, Connector>
  clock: Clock
  log: Log
  /** Of one connection. */
  limiter: Limiter
}

const received = counter(
  'coffer_psp_webhooks_total',
  'Deliveries of PSPs: stored, duplicate (all in it had come before), or refused.',
  ['result'],
)

/** A new connection is found within this time. */
const cacheMs = 2_000
const cachedMax = 10_000
const noticesMax = 100
const eventIdLengthMax = 255
const typeLengthMax = 100

export function createWebhookReceiver(deps: WebhookReceiverDeps) {
  const known = new Map<string, { at_ms: number; found: Promise<WebhookConnection | undefined> }>()

  function findConnection(connectionId: string): Promise<WebhookConnection | undefined> {
    const cached = known.get(connectionId)
    const now = performance.now()
    if (cached !== undefined && now - cached.at_ms < cacheMs) return cached.found
    const found = findWebhookConnection(deps.relayDatabase, connectionId)
    const forget = () => known.delete(connectionId)
    // One that is not there yet is asked for anew: its event may be a moment behind.
    found.then((connection) => connection === undefined && forget(), forget)
    if (known.size >= cachedMax) known.clear()
    known.set(connectionId, { at_ms: now, found })
    return found
  }

  /** @throws Failure webhook_signature_invalid, always the same, whatever is wrong. */
  async function authenticate(connectionId: string, request: WebhookRequest) {
    const connection = isId('connection', connectionId) ? await findConnection(connectionId) : undefined
    const webhook = connection && deps.connectors.get(connection.psp)?.webhook
    if (connection === undefined || webhook === undefined) throw refused()
    const waitMs = deps.limiter(connectionId)
    if (waitMs > 0) throw new Failure('rate_limited', { retryAfterSeconds: Math.ceil(waitMs / 1000) })
    const signatures = webhook.signatures(request)
    if (signatures === undefined || signatures.length === 0) throw refused()
    const now = deps.clock.now().getTime()
    const isLate = ({ signed_at }: { signed_at: Date | null }) =>
      signed_at !== null && Math.abs(now - signed_at.getTime()) > webhook.tolerance_seconds * 1000
    if (signatures.some(isLate)) throw refused()
    const call: WebhookSignaturesCall = {
      merchant_id: connection.merchant_id,
      connection_id: connection.connection_id,
      signatures: signatures.map(({ signed_at: _signed, ...signature }) => signature),
    }
    const { valid } = await deps.vault.call<WebhookSignaturesChecked>('/internal/webhook-signatures', call)
    if (!valid) throw refused()
    return { connection, webhook }
  }

  return {
    /** What the PSP wants to hear, once all in it is durable. A notice that came before changes nothing. */
    async receive(connectionId: string, request: WebhookRequest): Promise<string> {
      const { connection, webhook } = await authenticate(connectionId, request)
      const rows = rowsOf(connection, webhook, request)
      const added = await insertWebhooks(deps.database, rows)
      failpoint('platform.webhook.after_store')
      received.inc({ result: added > 0 ? 'stored' : 'duplicate' })
      if (rows.some(({ about }) => about === 'unreadable'))
        deps.log.warn({ connection_id: connectionId }, 'a PSP sent a signed webhook that cannot be read')
      return webhook.acknowledgement
    },
  }
}

function refused(): Failure {
  received.inc({ result: 'refused' })
  return new Failure('webhook_signature_invalid')
}

/** One row a notice. What is signed and cannot be read is kept for a person: the PSP would only send it again. */
function rowsOf(connection: WebhookConnection, webhook: Webhook, request: WebhookRequest): NewWebhook[] {
  const body = maskCardNumbersInJson(storable(request.body), webhook.reference_fields ?? [])
  const common = {
    merchant_id: connection.merchant_id,
    connection_id: connection.connection_id,
    body,
  }
  const notices = noticesIn(webhook, request)
  if (notices === undefined)
    return [
      {
        ...common,
        webhook_id: newId('pspWebhook'),
        event_id: `unreadable:${sha256Of(request.body)}`,
        type: 'unreadable',
        about: 'unreadable',
        occurred_at: null,
        notice: null,
      },
    ]
  return notices.map((notice) => ({
    ...common,
    webhook_id: newId('pspWebhook'),
    event_id: eventIdOf(notice),
    type: maskCardNumbers(storable(notice.type)).slice(0, typeLengthMax),
    about: notice.about,
    occurred_at: timeOf(notice.occurred_at),
    notice: noticeText(notice),
  }))
}

function noticesIn(webhook: Webhook, request: WebhookRequest): WebhookNotice[] | undefined {
  const notices = webhook.notices(request)
  const isWhole =
    notices !== undefined &&
    notices.length > 0 &&
    notices.length <= noticesMax &&
    notices.every(({ event_id, type }) => event_id !== '' && type !== '')
  return isWhole ? notices : undefined
}

function eventIdOf({ event_id }: WebhookNotice): string {
  return event_id.length <= eventIdLengthMax ? storable(event_id) : sha256Of(event_id)
}

const sha256Of = (text: string) => createHash('sha256').update(text).digest('hex')

/** A PSP's time that is none is as good as one it does not tell. */
function timeOf(text: string | null): string | null {
  const time = Date.parse(text ?? '')
  return Number.isNaN(time) || Math.abs(time) > 4_000_000_000_000 ? null : new Date(time).toISOString()
}
