/**
 * The one door to PSPs. A request is recorded, durably, before its first byte is sent; the record tells later
 * what may have happened. Each (attempt, step, send number) is sent at most once.
 */
import type { HttpRequest } from '@coffer/core/connector.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { ForwardCall, ForwardLook, ForwardLooked, ForwardResult } from '@coffer/core/internal-api.ts'
import type { Log } from '@coffer/core/log.ts'
import { histogram } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { BillingAddress } from '../cards/billing-address.ts'
import type { CardUsage } from '../cards/usage.ts'
import type { CvcLeases } from '../cvc/cvc-leases.ts'
import { isKeysDestroyed, type Keyring } from '../keys/keyring.ts'
import { cardNumberPlace, unseal } from '../keys/sealed-text.ts'
import { notRecorded } from '../reveal-records.ts'
import type { Connections, OpenConnection } from './connections.ts'
import * as queries from './forward-queries.ts'
import { type FilledRequest, fillRequest, MarkError, type MarkValues, marksOf } from './marks.ts'
import { maskAnswer, maskSent } from './mask.ts'
import { createSender, type Sent } from './send.ts'

export type Forwards = ReturnType<typeof createForwards>

export const destinationSeconds = histogram(
  'coffer_forward_destination_seconds',
  'Time a PSP or destination took to answer.',
  ['outcome'],
  [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30],
)

type Filled = { request: FilledRequest; values: MarkValues }

export function createForwards(deps: {
  database: Database
  keyring: Keyring
  connections: Connections
  cvcLeases: CvcLeases
  usage: CardUsage
  allowLoopback: boolean
  log: Log
}) {
  const sender = createSender({ allowLoopback: deps.allowLoopback })
  const groupLimits = { batch_max: 128, in_flight_max: 1, queue_max: 2_000 }
  const records = createGroupCommit<queries.ForwardInsert, queries.ForwardInserted>({
    name: 'forwards.record',
    write: (entries) => queries.insertForwards(deps.database, entries),
    ...groupLimits,
  })
  const results = createGroupCommit<queries.ForwardEnd, true>({
    name: 'forwards.result',
    write: (entries) => queries.endForwards(deps.database, entries),
    ...groupLimits,
    queue_max: 10_000,
    gather_ms: 20,
  })

  /** Whether there is one, a store that cannot be reached does not tell: then nothing is sent without it. */
  function takeCvc(call: ForwardCall): string | undefined | Promise<string | undefined> {
    const unknown = (error: unknown) => {
      throw new MarkError('card.cvc', error)
    }
    try {
      const taking = deps.cvcLeases.take(call, call.attempt_id)
      return taking instanceof Promise ? taking.catch(unknown) : taking
    } catch (error) {
      return unknown(error)
    }
  }

  async function fill(
    call: ForwardCall,
    connection: OpenConnection,
    inserted: queries.ForwardInserted,
    wanted: ReadonlySet<string>,
  ): Promise<Filled> {
    const values: MarkValues = { 'connection.secret': connection.secret.expose() }
    if (inserted.card !== undefined) {
      const { card } = inserted
      const place = { ...card, merchant_id: call.merchant_id, card_id: call.card_id }
      const dataKey = await deps.keyring.forDecryption(call.merchant_id, card.data_key_id)
      values['card.number'] = unseal(dataKey, cardNumberPlace(place), card.number_encrypted)
      values['card.exp_month'] = String(card.exp_month).padStart(2, '0')
      values['card.exp_month_number'] = String(card.exp_month)
      values['card.exp_year'] = String(card.exp_year)
      values['card.exp_year_number'] = String(card.exp_year)
      if (card.cardholder_name !== null) values['card.cardholder_name'] = card.cardholder_name
      for (const [name, value] of Object.entries(card.billing_address ?? {}))
        if (value !== null) values[`card.billing_address.${name as keyof BillingAddress}`] = value
      const taking = wanted.has('card.cvc') ? takeCvc(call) : undefined
      const cvc = taking instanceof Promise ? await taking : taking
      if (cvc !== undefined) values['card.cvc'] = cvc
    }
    return { request: fillRequest(call.request as HttpRequest, values), values }
  }

  /** Written without being awaited: if it is lost, the record still says that it may have been sent. */
  function end(call: ForwardCall, sent: Sent): void {
    const { merchant_id, attempt_id, step, send_number } = call
    const answer = sent.outcome === 'answered' ? sent.response : undefined
    results
      .add({ merchant_id, attempt_id, step, send_number, state: sent.outcome, answer })
      .then(() => failpoint('vault.forward.after_result'))
      .catch((error) => deps.log.error({ attempt_id, step, error }, 'a forward result was not written'))
  }

  /** The answer once a first record exists: what the record says, and nothing is sent again. */
  function alreadyRecorded(call: ForwardCall, inserted: queries.ForwardInserted): ForwardResult {
    if (inserted.verdict === 'card_ended')
      return result(call, inserted, { outcome: 'not_sent', reason: 'the card is deleted or not active' }, 0)
    if (inserted.verdict === 'card_changed') return result(call, inserted, cardChanged, 0)
    if (inserted.verdict === 'refused')
      return result(
        call,
        inserted,
        { outcome: 'not_sent', reason: 'card, attempt and connection do not agree' },
        0,
      )
    if (inserted.earlier_state === 'closed' || inserted.earlier_state === 'not_sent')
      return result(call, inserted, { outcome: 'not_sent', reason: 'this send was closed' }, 0)
    return result(call, inserted, { outcome: 'unanswered', reason: 'this send was recorded before' }, 0)
  }

  return {
    async forward(call: ForwardCall, role: string, requestId: string): Promise<ForwardResult> {
      const connection = await deps.connections.open(call.merchant_id, call.connection_id)
      const wanted = marksOf(call.request as HttpRequest)
      failpoint('vault.forward.before_record')
      const inserted = await records
        .add({
          ...call,
          stands_for: call.stands_for ?? null,
          needs_card: [...wanted].some((mark) => mark.startsWith('card.')),
          forward_id: newId('forward'),
          role,
          request_id: requestId,
        })
        .catch(notRecorded)
      failpoint('vault.forward.after_record')
      if (inserted.verdict !== 'recorded') return alreadyRecorded(call, inserted)

      const filled = await fill(call, connection, inserted, wanted).catch(async (error: unknown) => {
        await deps.cvcLeases.giveBack(call, call.attempt_id)
        if (error instanceof MarkError) return notFilled(error)
        if (isKeysDestroyed(error)) return { outcome: 'not_sent' as const, reason: (error as Error).message }
        end(call, { outcome: 'not_sent', reason: 'the request could not be filled' })
        throw error
      })
      if ('outcome' in filled) {
        end(call, filled)
        return result(call, inserted, filled, 0)
      }
      const startedMs = performance.now()
      const sent = await sender.send(connection.origin, filled.request, call.timeout_ms)
      const destinationMs = performance.now() - startedMs
      destinationSeconds.observe({ outcome: sent.outcome }, destinationMs / 1000)
      failpoint('vault.forward.after_answer')
      const masked = mask(call, sent, filled.values)
      if (sent.outcome === 'not_sent') await deps.cvcLeases.giveBack(call, call.attempt_id)
      else if (filled.values['card.cvc'] !== undefined) deps.cvcLeases.markSent(call, call.attempt_id)
      if (isAttempt(call, sent)) deps.usage.count(call)
      if (endsAuthorization(call, sent)) deps.cvcLeases.forget(call, call.attempt_id)
      end(call, masked)
      return result(call, inserted, masked, destinationMs)
    },

    /** What became of a step; a step that was never recorded is closed by looking. */
    async look(look: ForwardLook, role: string, requestId: string): Promise<ForwardLooked> {
      const found = await queries.lookAndClose(deps.database, {
        ...look,
        forward_id: newId('forward'),
        role,
        request_id: requestId,
      })
      return lookedOf(found)
    },

    async drain(): Promise<void> {
      await records.drain()
      await results.drain()
    },
    close: () => sender.close(),
  }
}

/** The first send of the step that charges the card: an attempt has one. An operation needs no card. */
function isAttempt(call: ForwardCall, sent: Sent): boolean {
  return (
    call.moves_money &&
    call.send_number === 0 &&
    sent.outcome !== 'not_sent' &&
    isId('attempt', call.attempt_id)
  )
}

/** An answer to the step that moves money, or a refusal before it: either way the CVC has served. */
function endsAuthorization(call: ForwardCall, sent: Sent): boolean {
  return sent.outcome === 'answered' && (call.moves_money || sent.response.status >= 400)
}

function mask(call: ForwardCall, sent: Sent, values: MarkValues): Sent {
  if (sent.outcome !== 'answered') return sent
  const secrets = {
    ...(values['card.number'] === undefined ? {} : { number: values['card.number'] }),
    ...(values['card.cvc'] === undefined ? {} : { cvc: values['card.cvc'] }),
    ...(values['connection.secret'] === undefined ? {} : { secret: values['connection.secret'] }),
  }
  const { status, headers, body } = sent.response
  const maskedHeaders = Object.entries(headers).map(([name, value]) => [name, maskSent(value, secrets)])
  return {
    outcome: 'answered',
    response: {
      status,
      headers: Object.fromEntries(maskedHeaders),
      body: maskAnswer(body, secrets, call.reference_fields),
    },
  }
}

const cardChanged = {
  outcome: 'not_sent',
  reason: 'the card has another number than the one that was to be charged',
  code: 'card_changed',
} as const

function notFilled({ mark, message }: MarkError): Sent & { outcome: 'not_sent' } {
  const notSent = { outcome: 'not_sent', reason: message } as const
  return mark === 'card.cvc' ? { ...notSent, code: 'cvc_unavailable' } : notSent
}

function result(
  call: ForwardCall,
  inserted: queries.ForwardInserted,
  sent: Sent,
  destinationMs: number,
): ForwardResult {
  return {
    outcome: sent.outcome,
    reason: sent.outcome === 'answered' ? '' : sent.reason,
    ...(sent.outcome === 'not_sent' && sent.code !== undefined && { code: sent.code }),
    card_version_id: inserted.card?.card_version_id ?? call.card_version_id,
    answer: sent.outcome === 'answered' ? sent.response : null,
    destination_ms: destinationMs,
  }
}

/** The newest answer counts; without one, any send that is not proven unsent may have reached the PSP. */
function lookedOf(rows: queries.ForwardRow[]): ForwardLooked {
  const sends = rows.filter((row) => row.state !== 'closed' && row.state !== 'not_sent')
  const answered = sends.findLast((row) => row.state === 'answered')
  return {
    state: answered !== undefined ? 'answered' : sends.length > 0 ? 'unanswered' : 'not_sent',
    answer:
      answered === undefined
        ? null
        : {
            status: answered.answer_status!,
            headers: answered.answer_headers ?? {},
            body: answered.answer_body ?? '',
          },
    sends: sends.length,
    unanswered_sends: sends.filter((row) => row.state !== 'answered').length,
    first_recorded_at: sends[0]?.recorded_at.toISOString() ?? null,
    last_recorded_at: sends.at(-1)?.recorded_at.toISOString() ?? null,
    last_send_number: rows.at(-1)?.send_number ?? 0,
    answers: sends[0]?.answers ?? {},
    card_version_id: sends[0]?.card_version_id ?? null,
  }
}
