/** What cardholders, issuers and schemes do later, told to the simulator by control endpoints. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { newPspReference } from './ids.ts'
import { decided } from './payments.ts'
import type { Parts } from './serve-adyen.ts'
import type { AdyenObject, Dispute, Modification, Payment } from './state.ts'

type IdParams = { Params: { id: string } }

const stages = new Set([
  ...['REQUEST_FOR_INFORMATION', 'NOTIFICATION_OF_CHARGEBACK', 'CHARGEBACK', 'CHARGEBACK_REVERSED'],
  ...['SECOND_CHARGEBACK', 'PREARBITRATION_WON', 'PREARBITRATION_LOST'],
])

const notFound = (reply: FastifyReply, message: string) => reply.code(404).send({ error: { message } })

export function registerHappenings(app: FastifyInstance, { state, exchange, now_ms }: Parts) {
  const find = <Kind extends AdyenObject['kind']>(kind: Kind, id: string) =>
    state.all(kind).find((each) => each.id === id)

  /** The page a cardholder is sent to, without a page: `?result=failed` for one who does not authenticate. */
  const authenticate = async (
    request: FastifyRequest<IdParams & { Querystring: { result?: string } }>,
    reply: FastifyReply,
  ) => {
    const payment = find('payment', request.params.id)
    if (payment?.result !== 'redirected') return notFound(reply, 'no such payment waits for its cardholder')
    const refusal = request.query.result === 'failed' ? '11' : null
    await exchange.record([decided(payment, refusal)])
    return reply.send({ pspReference: payment.id, resultCode: refusal === null ? 'Authorised' : 'Refused' })
  }
  app.get('/_sim/adyen/authenticate/:id', authenticate)
  app.post('/_sim/adyen/authenticate/:id', authenticate)

  /** What a payment's request said of consent and shopper. */
  app.get<IdParams>('/_sim/adyen/payments/:id', (request, reply) => {
    const payment = find('payment', request.params.id)
    return payment === undefined ? notFound(reply, 'no such payment') : reply.send(payment.asked)
  })

  /** A capture or refund that succeeded comes to nothing; so does the capture of a payment that captures by itself. */
  app.post<IdParams>('/_sim/adyen/fail/:id', async (request, reply) => {
    const { id } = request.params
    const changes = failed(find('modification', id), find('payment', id), (each) => find('payment', each))
    if (changes === undefined) return notFound(reply, 'no such capture or refund has succeeded')
    await exchange.record(changes)
    return reply.send({ failed: id })
  })

  /** `?event_code=`: where the dispute of a payment, by its reference, stands now. */
  app.post<IdParams & { Querystring: { event_code?: string } }>(
    '/_sim/adyen/disputes/:id',
    async (request, reply) => {
      const payment = find('payment', request.params.id)
      const event_code = request.query.event_code ?? 'CHARGEBACK'
      if (payment === undefined || payment.captured === 0) return notFound(reply, 'no such captured payment')
      if (!stages.has(event_code)) return notFound(reply, `known are ${[...stages].join(', ')}`)
      const known = state.all('dispute').find((each) => each.payment === payment.id)
      const dispute: Dispute = {
        kind: 'dispute',
        id: known?.id ?? newPspReference(),
        account: payment.account,
        merchant_account: payment.merchant_account,
        created_ms: known?.created_ms ?? now_ms(),
        payment: payment.id,
        payment_reference: payment.reference,
        brand: payment.card.brand,
        amount: payment.captured,
        currency: payment.currency,
        event_code,
        reason: 'Other Fraud-Card Absent Environment',
      }
      await exchange.record([dispute])
      return reply.send({ pspReference: dispute.id })
    },
  )
}

function failed(
  made: Modification | undefined,
  captured: Payment | undefined,
  paymentOf: (id: string) => Payment | undefined,
): AdyenObject[] | undefined {
  if (captured !== undefined) {
    if (captured.capture !== 'automatic' || captured.captured === 0) return undefined
    const { id: payment, account, merchant_account, created_ms, reference, card, currency } = captured
    const capture: Modification = {
      kind: 'modification',
      id: newPspReference(),
      ...{ account, merchant_account, created_ms, payment, reference, currency },
      type: 'capture',
      ...{ payment_reference: reference, brand: card.brand, amount: captured.captured },
      ...{ success: true, reason: '', failed_later: true, idempotency_key: null },
    }
    return [{ ...captured, captured: 0 }, capture]
  }
  const isMoney = made?.type === 'capture' || made?.type === 'refund'
  if (!isMoney || !made.success || made.failed_later || made.payment === null) return undefined
  const payment = paymentOf(made.payment)!
  const rest =
    made.type === 'capture'
      ? { captured: payment.captured - made.amount }
      : { refunded: payment.refunded - made.amount }
  return [
    { ...payment, ...rest },
    { ...made, failed_later: true },
  ]
}
