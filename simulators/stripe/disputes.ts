/** Disputes, and refunds that fail: what a cardholder's bank does, told to the simulator by a control endpoint. */
import type { FastifyInstance } from 'fastify'
import { newId } from './ids.ts'
import type { Parts } from './serve-stripe.ts'
import type { Charge, Dispute } from './state.ts'

const statuses: readonly Dispute['status'][] = ['needs_response', 'won', 'lost']

export function disputeBody(dispute: Dispute) {
  const { id, amount, charge, currency, payment_intent, reason, status, metadata } = dispute
  return {
    id,
    object: 'dispute',
    amount,
    balance_transactions: [],
    charge,
    created: Math.floor(dispute.created_ms / 1000),
    currency,
    evidence_details: { due_by: null, has_evidence: false, past_due: false, submission_count: 0 },
    is_charge_refundable: false,
    livemode: false,
    metadata,
    payment_intent,
    reason,
    status,
  }
}

type DisputeInput = { payment_intent?: string; amount?: number; reason?: string }

const opened = (charge: Charge, { amount, reason }: DisputeInput, now_ms: number): Dispute => ({
  kind: 'dispute',
  id: newId('dp'),
  account: charge.account,
  created_ms: now_ms,
  charge: charge.id,
  payment_intent: charge.payment_intent,
  amount: amount ?? charge.amount_captured,
  currency: charge.currency,
  reason: reason ?? 'fraudulent',
  status: 'needs_response',
  metadata: {},
})

/** `POST /_sim/stripe/disputes`, `…/{id}/close` and `/_sim/stripe/refunds/{id}/fail`, with bodies of JSON. */
export function registerDisputes(app: FastifyInstance, { state, exchange, now_ms }: Parts) {
  const find = <Found extends { id: string }>(all: Iterable<Found>, id: string | undefined) =>
    [...all].find((each) => each.id === id)
  app.register(async (control) => {
    control.removeAllContentTypeParsers()
    control.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
      try {
        done(null, JSON.parse(String(body)))
      } catch {
        done(null, {})
      }
    })
    control.post<{ Body: DisputeInput | null }>('/_sim/stripe/disputes', async (request, reply) => {
      const input = request.body ?? {}
      const intent = find(state.newestFirst('payment_intent'), input.payment_intent)
      const charge = intent && state.get('charge', intent.account, intent.latest_charge)
      if (!charge?.captured)
        return reply.code(404).send({ error: { message: 'no captured charge of such a payment intent' } })
      const dispute = opened(charge, input, now_ms())
      await exchange.record([dispute])
      return reply.send(disputeBody(dispute))
    })
    control.post<{ Params: { id: string }; Body: { status?: Dispute['status'] } | null }>(
      '/_sim/stripe/disputes/:id/close',
      async (request, reply) => {
        const found = find(state.newestFirst('dispute'), request.params.id)
        const status = request.body?.status ?? 'lost'
        if (!found || !statuses.includes(status))
          return reply.code(404).send({ error: { message: 'no such dispute, or no such status' } })
        const dispute: Dispute = { ...found, status }
        await exchange.record([dispute])
        return reply.send(disputeBody(dispute))
      },
    )
    control.post<{ Params: { id: string } }>('/_sim/stripe/refunds/:id/fail', async (request, reply) => {
      const found = find(state.newestFirst('refund'), request.params.id)
      if (!found || found.has_failed)
        return reply.code(404).send({ error: { message: 'no such refund that has not failed' } })
      const charge = state.get('charge', found.account, found.charge)!
      const returned: Charge = { ...charge, amount_refunded: charge.amount_refunded - found.amount }
      await exchange.record([{ ...found, has_failed: true }, returned])
      return reply.send({ id: found.id, status: 'failed' })
    })
  })
}
