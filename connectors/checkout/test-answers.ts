/** Checkout.com's answers for tests: as documented, with what a test is about changed. */
type Fields = Record<string, unknown>

export const paymentId = 'pay_mbabizu24mvu3mela5njyhpit4'
export const actionId = 'act_mbabizu24mvu3mela5njyhpit4'

const href = (path: string) => ({ href: `https://api.sandbox.checkout.com/payments/${paymentId}${path}` })

export function paymentAnswer(changes: Fields = {}): Fields {
  return {
    id: paymentId,
    action_id: actionId,
    amount: 1234,
    currency: 'USD',
    approved: true,
    status: 'Authorized',
    auth_code: '770687',
    response_code: '10000',
    response_summary: 'Approved',
    processed_on: '2026-11-22T10:00:01Z',
    reference: 'att_01jqzk3x5w',
    scheme_id: '489341065491658',
    processing: { acquirer_transaction_id: '440644309099499894406' },
    _links: { self: href(''), actions: href('/actions') },
    ...changes,
  }
}

export function declinedAnswer(response_code: string, changes: Fields = {}): Fields {
  const summary = { approved: false, status: 'Declined', response_code, response_summary: 'Declined' }
  return paymentAnswer({ ...summary, auth_code: undefined, scheme_id: undefined, ...changes })
}

/** As a look-up shows it: no response code, and what has become of the amount. */
export function paymentDetails(changes: Fields = {}): Fields {
  const { action_id: _action, response_code: _code, response_summary: _summary, ...rest } = paymentAnswer()
  return {
    ...rest,
    requested_on: '2026-11-22T10:00:00Z',
    source: { type: 'card', last4: '4242' },
    balances: { total_authorized: 1234, total_captured: 0 },
    ...changes,
  }
}

export const capturedDetails = (changes: Fields = {}) =>
  paymentDetails({
    status: 'Captured',
    balances: { total_authorized: 1234, total_captured: 1234 },
    ...changes,
  })

export const paymentList = (...data: Fields[]): Fields => ({
  ...{ limit: 100, skip: 0, total_count: data.length },
  data,
})

export function actionAnswer(type: string, changes: Fields = {}): Fields {
  return {
    id: actionId,
    type,
    processed_on: '2026-11-22T10:00:02Z',
    amount: 1234,
    approved: true,
    response_code: '10000',
    response_summary: 'Approved',
    reference: 'op_01jqzk3x5y',
    ...changes,
  }
}

export const authorizationAction = () =>
  actionAnswer('Authorization', { id: 'act_first', reference: 'att_01jqzk3x5w' })

export const acceptedAnswer = (changes: Fields = {}): Fields => ({
  action_id: actionId,
  reference: 'op_01jqzk3x5y',
  _links: { payment: href('') },
  ...changes,
})

export const errorAnswer = (...error_codes: string[]): Fields => ({
  request_id: '0HL80RJLS76I7',
  error_type: 'request_invalid',
  error_codes,
})

export function webhookEvent(type: string, data: Fields = {}, changes: Fields = {}): Fields {
  return {
    id: 'evt_caxmnvuvbe4elkbdx2imwbnjxu',
    type,
    version: '1.0.29',
    created_on: '2026-11-22T10:00:03.8821546Z',
    data: {
      id: paymentId,
      action_id: actionId,
      reference: 'att_01jqzk3x5w',
      amount: 1234,
      currency: 'USD',
      response_code: '10000',
      response_summary: 'Approved',
      metadata: {
        coffer_attempt: 'att_01jqzk3x5w',
        coffer_payment: 'pay_01jqzk3x5v',
        coffer_capture: 'manual',
      },
      ...data,
    },
    ...changes,
  }
}
