/** The guard against card testing, as a merchant meets it. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { assertProblem, newMerchant } from './support/api.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after }, { environment: { CARD_TESTING_DECLINED_CARDS_MAX: '3' } })

test('SEC-17: cards declined one after another end in 429, told in the event log; stored cards are charged on', async () => {
  const merchant = await newMerchant(product, { connection: true })
  const key = randomUUID()
  const cards = await Promise.all([1, 2, 3].map(() => merchant.card('4000000000000002')))
  for (const [index, card] of cards.entries()) {
    const { body } = await merchant.createPayment({ card: card.id }, index === 0 ? key : randomUUID())
    assert.equal(body.status, 'declined')
  }
  const refused = await merchant.createPayment({ card: cards[0]!.id })
  assertProblem(refused, { status: 429, code: 'card_testing_suspected', retryable: true })
  const seconds = Number(refused.headers.get('retry-after'))
  assert.ok(seconds > 0 && seconds <= 600, `${seconds}`)
  // Neither what was answered before nor what the merchant starts by itself is refused.
  assert.equal((await merchant.createPayment({ card: cards[0]!.id }, key)).status, 201)
  const renewal = await merchant.createPayment({
    card: (await merchant.card()).id,
    initiator: 'merchant',
    without_agreement: true,
  })
  assert.equal(renewal.body.status, 'captured')
  const told = await eventually(async () =>
    (await merchant.events()).find(({ type }) => type === 'card_testing.suspected'),
  )
  assert.deepEqual(
    [told.data['subject'], told.data['declined_cards'], told.data['approvals']],
    ['merchant', 3, 0],
  )
})
