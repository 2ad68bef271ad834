import assert from 'node:assert/strict'
import { test } from 'node:test'
import { operationIdOf, tagOf } from './names.ts'

test('operations are called by what they do and to what', () => {
  const cases: [string, string, string][] = [
    ['POST', '/v1/cards', 'createCard'],
    ['GET', '/v1/cards', 'listCards'],
    ['GET', '/v1/cards/:id', 'getCard'],
    ['PATCH', '/v1/cards/:id', 'updateCard'],
    ['DELETE', '/v1/api_keys/:id', 'deleteApiKey'],
    ['POST', '/v1/cards/:id/reveal', 'revealCard'],
    ['POST', '/v1/cards/reveal', 'revealCards'],
    ['GET', '/v1/payments/:id/refunds', 'listPaymentRefunds'],
    ['POST', '/v1/payments/:id/refunds', 'createPaymentRefund'],
    ['GET', '/v1/payments/:id/refunds/:refund_id', 'getPaymentRefund'],
    ['PUT', '/v1/cards/:id/note', 'replaceCardNote'],
    ['GET', '/v1/audit', 'getAudit'],
    ['POST', '/v1/deliveries', 'createDelivery'],
    ['POST', '/v1/payment_batches/:id/pause', 'pausePaymentBatch'],
  ]
  for (const [method, url, name] of cases) assert.equal(operationIdOf(method, url), name)
})

test('an operation stands under the first noun of its path', () => {
  assert.equal(tagOf('/v1/cards/:id/reveal'), 'cards')
})
