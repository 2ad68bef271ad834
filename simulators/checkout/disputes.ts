/** Disputes: what a cardholder's bank does, told to the simulator by a control endpoint. */
import type { FastifyInstance } from 'fastify'
import { newId } from './ids.ts'
import type { Parts } from './serve-checkout.ts'
import type { Dispute } from './state.ts'

const endings = ['won', 'lost', 'canceled', 'expired', 'resolved', 'accepted']

type DisputeInput = { payment_id?: string; amount?: number; category?: string; status?: string }

/** `POST /_sim/checkout/disputes` and `…/{id}/close`. */
export function registerDisputes(app: FastifyInstance, { state, exchange }: Parts) {
  const read = (body: unknown): DisputeInput => {
    try {
      return JSON.parse(String(body)) ?? {}
    } catch {
      return {}
    }
  }
  app.post('/_sim/checkout/disputes', async (request, reply) => {
    const { payment_id = '', amount, category = 'fraudulent' } = read(request.body)
    const payment = state.find('payment', payment_id)
    if (payment === undefined) return reply.code(404).send({ error: { message: 'no such payment' } })
    const dispute: Dispute = {
      ...{ kind: 'dispute', id: newId('dsp'), account: payment.account, payment: payment.id },
      ...{ amount: amount ?? payment.amount, currency: payment.currency, category },
      status: 'evidence_required',
    }
    await exchange.record([dispute])
    return reply.send(dispute)
  })
  app.post<{ Params: { id: string } }>('/_sim/checkout/disputes/:id/close', async (request, reply) => {
    const found = state.find('dispute', request.params.id)
    const status = read(request.body).status ?? 'lost'
    if (found === undefined || !endings.includes(status))
      return reply.code(404).send({ error: { message: `no such dispute, or not one of ${endings}` } })
    await exchange.record([{ ...found, status }])
    return reply.send({ ...found, status })
  })
}
