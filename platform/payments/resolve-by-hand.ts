/**
 * What a person settles where nobody else can: an attempt or an operation whose outcome has stayed unknown. It goes
 * the way of every settlement, so it never overrides one, and it leaves who did it and why in the audit trail.
 */
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { isId } from '@coffer/core/ids.ts'
import { money } from '@coffer/core/money.ts'
import type { Clock } from '@coffer/core/time.ts'
import { openOperationStates, operationSettlementOf } from '../operations/machine.ts'
import type { OperationStore } from '../operations/store.ts'
import { type Ending, openStates, settlementOf } from './machine.ts'
import type { Operation, Payment, PaymentAttempt, Resolution } from './schemas.ts'
import { settledPayment } from './settled-payment.ts'
import type { PaymentStore } from './store.ts'

export type ResolveByHandDeps = { store: PaymentStore; operationStore: OperationStore; clock: Clock }

/** Until then the resolver has most often found out by itself, and a late answer may still come. */
const leastAgeMs = 15 * 60_000

/** @throws Failure payment_state_invalid where it is settled, or not old enough. */
export async function resolveByHand(
  deps: ResolveByHandDeps,
  caller: Caller,
  paymentId: string,
  resolution: Resolution,
): Promise<Payment> {
  for (const param of ['reason', 'psp_reference'] as const) refuseCardNumberIn(param, resolution[param])
  const find = () => deps.store.get(caller.merchant_id, paymentId)
  const payment = isId('payment', paymentId) ? await find() : undefined
  if (payment === undefined) throw new Failure('not_found')
  const isChanged =
    resolution.operation === undefined
      ? await resolveAttempt(deps, caller, payment, resolution)
      : await resolveOperation(deps, caller, payment, resolution)
  if (!isChanged) throw new Failure('payment_state_invalid', { detail: 'It has been settled meanwhile.' })
  return (await find())!
}

async function resolveAttempt(
  deps: ResolveByHandDeps,
  caller: Caller,
  payment: Payment,
  resolution: Resolution,
): Promise<boolean> {
  const attempt = payment.attempts.at(-1)!
  refuseUnlessOpen(deps.clock, attempt, openStates)
  const ending: Ending =
    resolution.outcome === 'failed'
      ? { kind: 'rejected', ...byHand }
      : {
          kind: 'approved',
          amount: money(payment.amount, payment.currency),
          captured: payment.capture === 'automatic',
          psp_reference: referenceOf(attempt, resolution),
          network_transaction_id: null,
          transaction_link_id: null,
        }
  const settled = settledPayment(payment, ending, deps.clock.now())
  return deps.store.settleByHand(
    {
      merchant_id: caller.merchant_id,
      payment_id: payment.id,
      attempt_id: attempt.id,
      card: null,
      settlement: settlementOf(ending),
      payment: settled,
      idempotency_key: null,
      response_status: 200,
      response_body: JSON.stringify(settled),
      resolve_after_ms: null,
      wait: null,
    },
    { caller, ...resolution },
  )
}

async function resolveOperation(
  deps: ResolveByHandDeps,
  caller: Caller,
  payment: Payment,
  resolution: Resolution,
): Promise<boolean> {
  const operation = payment.operations.find(({ id }) => id === resolution.operation)
  const key = { merchant_id: caller.merchant_id, payment_id: payment.id, operation_id: operation?.id ?? '' }
  const found = operation && (await deps.operationStore.findPlan(key))
  if (operation === undefined || found === undefined) throw new Failure('not_found', { param: 'operation' })
  refuseUnlessOpen(deps.clock, operation, openOperationStates)
  const settlement = operationSettlementOf(
    resolution.outcome === 'failed'
      ? { kind: 'rejected', ...byHand }
      : { kind: 'succeeded', psp_reference: referenceOf(operation, resolution) },
  )
  const settled = await deps.operationStore.settle({
    plan: found.plan,
    settlement,
    at: deps.clock.now(),
    resolve_after_ms: null,
    answer: null,
    by_hand: { caller, ...resolution },
  })
  return settled !== undefined
}

const byHand = { psp_code: 'resolved_by_hand', message: 'resolved by hand as failed' }

function refuseUnlessOpen(
  clock: Clock,
  { status, created_at }: PaymentAttempt | Operation,
  open: readonly string[],
): void {
  const refuse = (detail: string) => new Failure('payment_state_invalid', { detail })
  if (!open.includes(status)) throw refuse(`It is settled: ${status}.`)
  if (clock.now().getTime() - Date.parse(created_at) < leastAgeMs)
    throw refuse(
      'It may still settle by itself: it is resolved by hand 15 minutes after it began at the earliest.',
    )
}

/** Without it, what succeeded could not be captured, canceled or refunded any more. */
function referenceOf({ psp_reference }: { psp_reference: string | null }, resolution: Resolution): string {
  const reference = resolution.psp_reference ?? psp_reference
  if (reference !== null) return reference
  throw new Failure('invalid_request', {
    param: 'psp_reference',
    detail: 'The PSP has told no reference: what it calls this payment or refund is needed.',
  })
}
