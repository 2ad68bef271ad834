/**
 * What is done to a payment after its authorization. As with a payment: the intent is committed, with the amount
 * it reserves, before anything is sent; the result when it is known; the answer when there is a result or the
 * deadline has come.
 */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { bodyHmac, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { ConnectionFacts } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Clock } from '@coffer/core/time.ts'
import { type AnswerTarget, createAnswers, firstLookMs, intentTimes } from '../payments/answers.ts'
import { countConfigError } from '../payments/config-errors.ts'
import type { Operation } from '../payments/schemas.ts'
import type { PaymentStore } from '../payments/store.ts'
import {
  type AskedKind,
  type OperationEnding,
  openOperationStates,
  operationHttpStatusOf,
  operationSettlementOf,
} from './machine.ts'
import {
  AccountNotKnown,
  idempotencyOperationOf,
  type OperationInsert,
  type OperationInserted,
  type OperationPlan,
} from './queries.ts'
import { runOperation } from './run.ts'
import type { OperationStore } from './store.ts'

export type Operations = ReturnType<typeof createOperations>

export type OperationsDeps = {
  store: PaymentStore
  operationStore: OperationStore
  vault: InternalClient
  connectors: ReadonlyMap<string, Connector>
  bodyKey: KeyObject
  clock: Clock
  log: Log
  psp_deadline_ms: number
  answer_deadline_ms: number
}

/** Gives the JSON text of an operation as its response schema allows it. */
export type SerializeOperation = (operation: Operation) => string

export type OperationAsked = {
  kind: AskedKind
  amount: number | null
  reason: string | null
  final: boolean | null
}

export function createOperations(deps: OperationsDeps) {
  const { store, operationStore } = deps
  const answers = createAnswers(deps)

  async function findOperation(merchantId: string, paymentId: string, operationId: string) {
    const payment = await store.get(merchantId, paymentId)
    return payment?.operations.find(({ id }) => id === operationId)
  }

  async function settle(
    plan: OperationPlan,
    ending: OperationEnding,
    answer: AnswerTarget & { serialize: SerializeOperation },
  ): Promise<StoredAnswer> {
    const settlement = operationSettlementOf(ending)
    const stored = (operation: Operation) => answerOf(operation, answer.serialize)
    failpoint('platform.operation.before_settle')
    const settled = await operationStore.settle({
      plan,
      settlement,
      at: deps.clock.now(),
      resolve_after_ms: openOperationStates.includes(settlement.state) ? firstLookMs : null,
      answer: { idempotency_key: answer.idempotency_key, answerOf: stored },
      by_hand: null,
    })
    failpoint('platform.operation.after_settle')
    const { connection_id } = plan.connection
    countConfigError(deps.log, { psp: plan.psp, connection_id }, settlement.failure)
    // Somebody else has settled it in the meantime: what they wrote is the answer.
    return settled === undefined ? answers.current(answer) : stored(settled)
  }

  /** The projection of connections may be a moment behind. @throws Failure */
  async function insertIntent(entry: OperationInsert): Promise<OperationInserted> {
    try {
      return await operationStore.insert(entry)
    } catch (error) {
      if (!(error instanceof AccountNotKnown)) throw error
      const { merchant_id } = entry
      const { settings } = await deps.vault.call<ConnectionFacts>('/internal/connection-facts', {
        ...{ merchant_id, connection_id: error.connection_id },
      })
      return operationStore.insert({ ...entry, settings })
    }
  }

  return {
    /** Begins an operation. @throws Failure before anything is written, or for a repeated key as the draft says. */
    async start(
      caller: Caller,
      paymentId: string,
      asked: OperationAsked,
      idempotencyKey: string,
      serialize: SerializeOperation,
    ): Promise<StoredAnswer> {
      if (!isId('payment', paymentId)) throw new Failure('not_found')
      const { kind, amount, reason, final } = asked
      const answerFor = (operationId: string) => ({
        merchant_id: caller.merchant_id,
        operation: idempotencyOperationOf(kind),
        idempotency_key: idempotencyKey,
        serialize,
        async asItStands() {
          const operation = await findOperation(caller.merchant_id, paymentId, operationId)
          if (operation === undefined) throw new Failure('internal_error')
          return answerOf(operation, serialize)
        },
      })
      failpoint('platform.operation.before_intent')
      const at = deps.clock.now()
      const intent = await insertIntent({
        ...caller,
        payment_id: paymentId,
        operation_id: newId('operation', at.getTime()),
        kind,
        amount_minor: amount === null ? null : BigInt(amount),
        reason,
        final,
        settings: null,
        connectors: deps.connectors,
        idempotency_key: idempotencyKey,
        body_hmac: bodyHmac(deps.bodyKey, {
          ...{ payment: paymentId, amount, reason },
          ...(final !== null && { final }),
        }),
        ...intentTimes(deps),
        at,
        answerOf: (operation) => answerOf(operation, serialize),
      })
      failpoint('platform.operation.after_intent')
      if (intent.verdict === 'done') return answerOf(intent.operation, serialize)
      if (intent.verdict !== 'inserted')
        return answers.repeated<{ operation_id: string }>(intent, ({ operation_id }) =>
          answerFor(operation_id),
        )
      const { plan } = intent
      const connector = deps.connectors.get(plan.psp)!
      const answer = answerFor(plan.operation_id)
      const carryOut = async () =>
        settle(
          plan,
          await runOperation(deps, connector, connector[plan.step]!, plan, deps.psp_deadline_ms),
          answer,
        )
      return answers.inTime(carryOut(), answer, { payment_id: paymentId })
    },

    /** A payment's refunds, oldest first. */
    async refunds(merchantId: string, paymentId: string): Promise<Operation[]> {
      const payment = isId('payment', paymentId) ? await store.get(merchantId, paymentId) : undefined
      if (payment === undefined) throw new Failure('not_found')
      return payment.operations.filter(({ object }) => object === 'refund')
    },

    drain: answers.drain,
  }
}

function answerOf(operation: Operation, serialize: SerializeOperation): StoredAnswer {
  return { status: operationHttpStatusOf(operation.status), body: serialize(operation) }
}
