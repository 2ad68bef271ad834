/** One row: charged as any payment is, under a key of its own, and what its answer means for the row. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure, failures } from '@coffer/core/errors.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Payments } from '../payments/payments.ts'
import type { NewPayment, Payment } from '../payments/schemas.ts'
import type { StoredBatch } from './batch-queries.ts'
import type { VerdictStatus } from './schemas.ts'
import { type Claimed, closeKeys, type Verdict } from './work-queries.ts'

export type ChargingDeps = { database: Database; payments: Pick<Payments, 'create' | 'get'>; log: Log }

/** A row on its way. Each of its keys makes at most one payment; the next is used only when that has definitely failed. */
export type Charge = {
  row_number: number
  input: NewPayment
  /** Which of its keys it is at, from 1. */
  key_number: number
  /** The payment that this key has made, once that is known. */
  payment_id: string | null
  /** How often this key was answered nothing certain. */
  unanswered: number
}

export type Charged =
  | { kind: 'verdict'; verdict: Verdict; connection: string | null }
  /** Not now: after so long, with what it has come to. */
  | { kind: 'again'; charge: Charge; after_ms: number }

/** A row that its PSP turned away, or that could not be sent, is sent so often. */
export const keysMax = 6
const unansweredMax = 5

/** The first key is the plain one: it says which row of which batch a payment is. */
export function keyOf(batchId: string, rowNumber: number, keyNumber: number): string {
  return `${batchId}:${rowNumber}${keyNumber === 1 ? '' : `:${keyNumber}`}`
}

/** Failures that pass: nothing was sent, or the PSP took no more requests for the moment. */
const passing = new Set([
  'not_sent',
  'psp_unavailable',
  'rate_limit',
  'rate_limited',
  'too_many_requests',
  'http_429',
])

const isTurnedAway = ({ status, failure }: Pick<Payment, 'status' | 'failure'>) =>
  status === 'failed' && failure !== null && passing.has(failure.code)

/** Doubled each time, at most a minute, and not the same for all that were turned away together. */
const backoffMs = (times: number) => Math.min(1_000 * 2 ** (times - 1), 60_000) * (0.75 + Math.random() / 2)

/** Whether the resolver will soon know more: most often before a minute is over. */
const isUnderWay = ({ attempts }: Payment) => ['sending', 'unknown'].includes(attempts.at(-1)?.status ?? '')

async function paymentOf(deps: ChargingDeps, batch: StoredBatch, charge: Charge): Promise<Payment> {
  if (charge.payment_id !== null) return deps.payments.get(batch.merchant_id, charge.payment_id)
  const named = batch.connection_id === null ? {} : { connection: batch.connection_id }
  const key = keyOf(batch.batch_id, charge.row_number, charge.key_number)
  const input = { ...named, ...charge.input }
  const answer = await deps.payments.create(callerOf(batch), input, key, JSON.stringify)
  return JSON.parse(answer.body) as Payment
}

export async function chargeRow(deps: ChargingDeps, batch: StoredBatch, charge: Charge): Promise<Charged> {
  const { row_number, key_number } = charge
  try {
    const payment = await paymentOf(deps, batch, charge)
    if (isTurnedAway(payment) && key_number < keysMax) {
      const next = { ...charge, key_number: key_number + 1, payment_id: null, unanswered: 0 }
      return { kind: 'again', charge: next, after_ms: backoffMs(key_number) }
    }
    if (isUnderWay(payment) && charge.unanswered < unansweredMax) {
      const next = { ...charge, payment_id: payment.id, unanswered: charge.unanswered + 1 }
      return { kind: 'again', charge: next, after_ms: backoffMs(next.unanswered) }
    }
    const connection = payment.attempts.at(-1)?.connection ?? null
    return { kind: 'verdict', verdict: verdictOf(row_number, payment), connection }
  } catch (error) {
    if (error instanceof Failure && isDefinite(error)) {
      const { code, param = null } = error
      return { kind: 'verdict', verdict: refusedVerdict(row_number, code, param), connection: null }
    }
    const next = { ...charge, unanswered: charge.unanswered + 1 }
    const passes = error instanceof Failure && failures[error.code].status !== 500
    if (!passes) deps.log.error({ error }, 'a row of a batch could not be charged')
    if (passes || next.unanswered < unansweredMax)
      return { kind: 'again', charge: next, after_ms: backoffMs(next.unanswered) }
    // It will not come to an answer: from here on its key makes no payment any more.
    const verdict = await closeRow(deps, batch, charge)
    return {
      kind: 'verdict',
      verdict: verdict ?? refusedVerdict(row_number, 'internal_error', null),
      connection: null,
    }
  }
}

/** Refused before there was a payment, and for good: what is under way, or not certain, is not. */
function isDefinite({ code }: Failure): boolean {
  return failures[code].status < 500 && code !== 'idempotency_key_in_use'
}

const callerOf = ({ merchant_id, actor, key_id, request_id, source_address }: StoredBatch): Caller => ({
  merchant_id,
  actor,
  key_id,
  request_id,
  source_address,
})

const refusedVerdict = (row_number: number, code: string, param: string | null): Verdict => ({
  row_number,
  status: 'refused',
  payment_id: null,
  code,
  param,
})

export function verdictOf(
  row_number: number,
  payment: {
    id: string
    status: string
    decline: { reason: string } | null
    failure: { code: string } | null
  },
): Verdict {
  return {
    row_number,
    status: payment.status as VerdictStatus,
    payment_id: payment.id,
    code: payment.decline?.reason ?? payment.failure?.code.slice(0, 255) ?? null,
    param: null,
  }
}

/**
 * Sees to it that the row is not sent any more, by whomever, and gives what became of it until then; undefined where
 * it was never sent.
 */
export async function closeRow(
  deps: ChargingDeps,
  batch: Claimed,
  { row_number }: Pick<Charge, 'row_number'>,
): Promise<Verdict | undefined> {
  let verdict: Verdict | undefined
  for (let number = 1; number <= keysMax; number++) {
    const key = keyOf(batch.batch_id, row_number, number)
    const [paymentId] = await closeKeys(deps.database, batch, [key])
    if (paymentId == null) return verdict
    const payment = await deps.payments.get(batch.merchant_id, paymentId)
    verdict = verdictOf(row_number, payment)
    if (!isTurnedAway(payment)) return verdict
  }
  return verdict
}
