/** Keys over HTTP: rotated under cards, reveals and payments without one error; and a merchant's keys destroyed. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { type Answer, apiOf, assertProblem, newMerchant } from '../support/api.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import { eventually, startProduct } from '../support/product.ts'

const product = await startProduct({ after })
const merchant = await newMerchant(product, { connection: true })
const operator = apiOf(product.sandbox.api_url, product.sandbox.secret_key)

type Rotation = { id: string; state: string; errors: number }
type Census = {
  data_keys: { rows: number; superseded_at: string | null }[]
  fingerprint_keys: { rows: number; superseded_at: string | null }[]
  wrapping_keys: { is_current: boolean }[]
}

test('SEC-09: all keys are rotated under cards, reveals and payments, and not one of them fails', async () => {
  const fingerprints = new Map<string, Set<string>>()
  const numbers = Object.values(goodNumbers)
  let isOver = false
  let requests = 0
  const client = async (lane: number) => {
    for (let turn = lane; !isOver; turn++) {
      const number = numbers[turn % numbers.length]!
      const card = await merchant.card(number)
      fingerprints.set(number, (fingerprints.get(number) ?? new Set()).add(card.fingerprint))
      const got = await merchant.call('GET', `/v1/cards/${card.id}`)
      const path = `/v1/cards/${card.id}/reveal`
      const revealed = await merchant.call<{ number: string }>('POST', path, { body: { reason: 'a test' } })
      assert.deepEqual([got.status, revealed.status, revealed.body.number], [200, 200, number])
      const paid = await merchant.createPayment({ card: card.id })
      assert.equal(paid.status, 201, paid.text)
      requests += 4
    }
  }
  const traffic = Promise.all([0, 1, 2].map(client))
  traffic.catch(() => {})
  for (const [api, kind] of [
    [merchant, 'data'],
    [operator, 'fingerprint'],
    [operator, 'wrapping'],
  ] as const) {
    const begun: Answer<Rotation> = await api.call('POST', '/v1/keys/rotations', { body: { kind } })
    assert.equal(begun.status, 201, begun.text)
    const ended = await eventually(async () => {
      const { body } = await api.call<Rotation>('GET', `/v1/keys/rotations/${begun.body.id}`)
      return body.state === 'running' ? undefined : body
    })
    assert.deepEqual([ended.state, ended.errors], ['finished', 0], kind)
  }
  isOver = true
  await traffic
  assert.ok(requests > 0)
  assert.ok([...fingerprints.values()].every((found) => found.size === 1))
  const { data_keys } = (await merchant.call<Census>('GET', '/v1/keys')).body
  const { fingerprint_keys, wrapping_keys } = (await operator.call<Census>('GET', '/v1/keys')).body
  for (const keys of [data_keys, fingerprint_keys]) {
    assert.equal(keys.length, 2)
    for (const key of keys) assert.equal(key.rows === 0, key.superseded_at !== null)
  }
  assert.deepEqual(
    wrapping_keys.map((key) => key.is_current),
    [true],
  )
})

test('SEC-14: only an operator rotates the keys of the deployment, and a merchant sees its own only', async () => {
  for (const kind of ['fingerprint', 'wrapping'])
    assertProblem(await merchant.call('POST', '/v1/keys/rotations', { body: { kind } }), {
      status: 403,
      code: 'forbidden',
    })
  const { body } = await merchant.call<Census>('GET', '/v1/keys')
  assert.deepEqual([body.fingerprint_keys, body.wrapping_keys], [null, null])
})

test('SEC-11, SEC-35: keys are destroyed with a second person only; then nothing opens and nothing is kept', async () => {
  const leaving = await newMerchant(product, { connection: true })
  const card = await leaving.card()
  const path = '/v1/keys/destructions'
  const alone = await leaving.call('POST', path, { body: { reason: 'it leaves' } })
  assertProblem(alone, { status: 403, code: 'approval_required', param: 'approval' })
  const asked = { action: 'key.destroy', reason: 'it leaves' }
  const approval = (await leaving.call<{ id: string }>('POST', '/v1/approvals', { body: asked })).body.id
  const body = { reason: 'it leaves', approval }
  const waiting = await leaving.call('POST', path, { body })
  assertProblem(waiting, { status: 403, code: 'approval_not_granted', param: 'approval' })
  const revealed = await leaving.call('POST', `/v1/cards/${card.id}/reveal`, { body: { reason: 'a test' } })
  assert.equal(revealed.status, 200)
  await leaving.approve!(approval)
  const begun = await leaving.call('POST', path, { body, key: 'once' })
  assert.equal(begun.status, 202, begun.text)
  assert.equal((await leaving.call('POST', path, { body, key: 'once' })).text, begun.text)
  await eventually(async () => {
    const { data } = (await leaving.call<{ data: { state: string }[] }>('GET', path)).body
    return data[0]?.state === 'destroyed'
  })
  const gone = { status: 410, code: 'keys_destroyed' }
  assertProblem(
    await leaving.call('POST', `/v1/cards/${card.id}/reveal`, { body: { reason: 'a test' } }),
    gone,
  )
  assertProblem(await leaving.createCard(), gone)
  assertProblem(await leaving.call('POST', '/v1/keys/rotations', { body: { kind: 'data' } }), gone)
  const paid = await leaving.createPayment({ card: card.id })
  assert.ok(paid.status < 500 && paid.body.status !== 'captured', paid.text)
  assert.equal((await leaving.call('GET', `/v1/cards/${card.id}`)).status, 200)
  const audit = await leaving.call<{ data: { reason: string }[] }>('GET', '/v1/audit?action=key.destroyed')
  assert.match(audit.body.data[0]!.reason, /^certificate: .* backups that still hold them expire by 20/)
})
