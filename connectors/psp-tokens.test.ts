/** Cards that PSPs hold: which tokens can be imported, when one is told, and when one is asked for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuthorizeInput, Outcome } from '@coffer/core/connector.ts'
import { loadConnectors } from './directory.ts'
import { authorizeInput, httpResponse, requestValues, stepContext } from './test-inputs.ts'

const connectors = await loadConnectors()

test('what a merchant imports goes into a path or a body as it is: no token makes a mark or leaves its place', () => {
  const odd = ['', '{{card.number}}', 'pm_{{card.number}}', 'src_1234 5678', '../charges', 'x'.repeat(401)]
  for (const [psp, { psp_tokens }] of connectors) {
    if (psp_tokens === undefined) continue
    assert.match(psp_tokens.pattern, /^\^.*\$$/, psp)
    for (const token of odd) assert.doesNotMatch(token, new RegExp(psp_tokens.pattern), psp)
    assert.ok(psp_tokens.not_found_codes.length > 0, psp)
  }
})

const taken: [psp: string, token: string][] = [
  ['stripe', 'pm_1PgafuB7WZ01zgkW'],
  ['adyen', 'M5N7TQ4TG5PFWR50'],
  ['adyen', 'shopper/17/M5N7TQ4TG5PFWR50'],
  ['checkout', 'src_wmlfc3zyhqzehihu7giusaaawu'],
]
for (const [psp, psp_token] of taken)
  test(`${psp}: with ${psp_token}, no request has a mark of the card`, () => {
    const connector = connectors.get(psp)!
    assert.match(psp_token, new RegExp(connector.psp_tokens!.pattern))
    const input = authorizeInput({ psp_token })
    const context = stepContext({ payment_method: psp_token })
    for (const step of connector.authorize)
      for (const [where, value] of requestValues(step.request(input, context)))
        assert.doesNotMatch(value, /\{\{card\./, `${step.name} ${where}`)
  })

function outcomeOf(psp: string, status: number, answer: object, changes: Partial<AuthorizeInput> = {}) {
  const step = connectors.get(psp)!.authorize.find(({ moves_money }) => moves_money)!
  return step.response(httpResponse(status, answer), authorizeInput(changes)) as Outcome
}

const adyenAnswer = (additionalData: object) => ({
  pspReference: 'NC6HT9CRT65ZGN82',
  resultCode: 'Authorised',
  amount: { value: 1234, currency: 'USD' },
  additionalData,
})

test('Adyen is asked to store a card where the settings say so, and tells the token in its shopper’s name', () => {
  const step = connectors.get('adyen')!.authorize[0]!
  const asking = stepContext()
  asking.account.settings['keep_psp_tokens'] = 'true'
  const bodyOf = (input: AuthorizeInput, context = asking) => {
    const { body } = step.request(input, context)
    return (body as { json: Record<string, unknown> }).json
  }
  const asked = bodyOf(authorizeInput())
  assert.deepEqual(
    [asked['storePaymentMethod'], asked['recurringProcessingModel'], asked['shopperReference']],
    [true, 'CardOnFile', authorizeInput().card_id],
  )
  const stored_credential = {
    ...{ usage: 'subscription' as const, sequence: 'first' as const },
    ...{ network_transaction_id: null, transaction_link_id: null },
  }
  assert.equal(bodyOf(authorizeInput({ stored_credential }))['recurringProcessingModel'], 'Subscription')
  // What it holds already, or is not asked for, it does not store.
  assert.equal(bodyOf(authorizeInput({ psp_token: 'M5N7TQ4TG5PFWR50' }))['storePaymentMethod'], undefined)
  assert.equal(bodyOf(authorizeInput(), stepContext())['storePaymentMethod'], undefined)

  const told = outcomeOf(
    'adyen',
    200,
    adyenAnswer({
      'tokenization.storedPaymentMethodId': 'M5N7TQ4TG5PFWR50',
      'tokenization.shopperReference': 'card_1',
    }),
  )
  assert.equal(told.kind === 'approved' && told.psp_token, 'card_1/M5N7TQ4TG5PFWR50')
  const silent = outcomeOf('adyen', 200, adyenAnswer({ 'tokenization.storedPaymentMethodId': '{{x}}' }))
  assert.equal(silent.kind === 'approved' && silent.psp_token, undefined)
})

test('Checkout.com tells its source while the capture is still to come, too', () => {
  const answer = {
    ...{ id: 'pay_1', amount: 1234, currency: 'USD', approved: true, status: 'Authorized' },
    ...{ response_code: '10000', reference: authorizeInput().attempt_id },
    source: { id: 'src_wmlfc3zyhqzehihu7giusaaawu' },
  }
  for (const [capture, kind] of [
    ['manual', 'approved'],
    ['automatic', 'pending'],
  ] as const) {
    const told = outcomeOf('checkout', 201, answer, { capture })
    assert.deepEqual([told.kind, 'psp_token' in told && told.psp_token], [kind, answer.source.id])
  }
})

test('a token that a PSP does not know is a rejection with a code of its list, and nothing else is', () => {
  const unknown: [psp: string, status: number, answer: object][] = [
    ['adyen', 422, { status: 422, errorCode: '800', message: 'Contract not found', errorType: 'validation' }],
    ['checkout', 422, { error_type: 'request_invalid', error_codes: ['source_id_unknown'] }],
  ]
  for (const [psp, status, answer] of unknown) {
    const told = outcomeOf(psp, status, answer)
    const { not_found_codes } = connectors.get(psp)!.psp_tokens!
    assert.ok(told.kind === 'rejected' && not_found_codes.includes(told.psp_code), psp)
    assert.equal(outcomeOf(psp, 500, answer).kind, 'unknown')
  }
  const [first] = connectors.get('stripe')!.authorize
  const missing = {
    type: 'invalid_request_error',
    code: 'resource_missing',
    message: 'No such PaymentMethod',
  }
  const told = first!.response(httpResponse(404, { error: missing }), authorizeInput({ psp_token: 'pm_1' }))
  assert.deepEqual([told.kind, 'psp_code' in told && told.psp_code], ['rejected', 'resource_missing'])
})
