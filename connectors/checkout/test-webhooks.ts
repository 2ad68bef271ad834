/** A notice for the conformance suite. */
import { createHmac } from 'node:crypto'

const secret = 'checkout-webhook-secret'
const data = {
  id: 'pay_abcdefghijklmnopqrstuvwxyz',
  action_id: 'act_abcdefghijklmnopqrstuvwxyz',
  reference: 'op_1',
}
const body = JSON.stringify({
  id: 'evt_abcdefghijklmnopqrstuvwxyz',
  type: 'payment_captured',
  created_on: '2026-11-22T10:00:00Z',
  data: { ...data, response_code: '10000', amount: 1234, currency: 'USD' },
})

export const signed = {
  secret,
  request: { headers: { 'cko-signature': createHmac('sha256', secret).update(body).digest('hex') }, body },
}
