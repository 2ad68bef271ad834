/** A notice for the conformance suite. */
import { createHmac } from 'node:crypto'
import { intentAnswer } from './test-answers.ts'

const secret = 'whsec_test_secret'
const timestamp = 1_795_341_600
const body = JSON.stringify({
  id: 'evt_1PgafyB7WZ01zgkW',
  object: 'event',
  type: 'payment_intent.succeeded',
  created: timestamp,
  data: { object: intentAnswer() },
})
const signature = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')

export const signed = {
  secret,
  request: { headers: { 'stripe-signature': `t=${timestamp},v1=${signature}` }, body },
}
