// CVCs with real processes: what one vault has collected another one sends, once; what a process had when it was
// killed is gone; while the store is away nothing is guessed. And none is ever on a disk.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, type TestContext, test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import { type Api, accountName, apiOf, assertProblem } from '../support/api.ts'
import { newCanaries, scanFolder } from '../support/canary-scan.ts'
import { noRedis, startRedis } from '../support/redis.ts'
import { createMerchantKey } from '../support/retrying-merchant.ts'
import { deadlines, type RoleProcesses, startRoleProcesses } from '../support/role-processes.ts'
import { within } from '../support/within.ts'

const canaries = newCanaries()

/** A merchant with an account at the simulator, as seen at the vault of that place and at the platform. */
async function merchantOf(roles: RoleProcesses) {
  const [service, relay] = ['coffer_access_service', 'coffer_access_relay'] as const
  const { secret_key } = await createMerchantKey(roles.postgres.url(service), roles.postgres.url(relay))
  const at = (place: 'vault' | 'second_vault' | 'platform') => apiOf(roles.at[place].url, secret_key)
  const secret = `sk_test_${accountName()}_1`
  const body = { psp: 'stripe', name: 'Stripe', base_url: roles.simulator_url, secret }
  assert.equal((await at('vault').call('POST', '/v1/connections', { body })).status, 201)

  /** Whether the CVC was checked, as the PSP tells it of the charge. */
  async function cvcCheck({ attempts }: Payment): Promise<unknown> {
    const reference = attempts.at(-1)?.psp_reference
    const url = `${roles.simulator_url}/v1/payment_intents/${reference}?expand[]=latest_charge`
    const answer = await fetch(url, { headers: { authorization: `Bearer ${secret}` } })
    const intent = (await answer.json()) as {
      latest_charge: { payment_method_details: { card: { checks: { cvc_check: unknown } } } }
    }
    return intent.latest_charge.payment_method_details.card.checks.cvc_check
  }

  async function charge(card: string, fields: object = {}): Promise<Payment> {
    const { body, text } = await at('platform').createPayment({ card, ...fields })
    assert.equal(body.object, 'payment', text)
    return at('platform').settledPayment(body.id)
  }
  return { at, cvcCheck, charge }
}

const withCvc = () => ({ number: canaries.next(), cvc: canaries.cvc })

async function collected(api: Api): Promise<string> {
  const answer = await api.createCard(withCvc())
  assert.equal(answer.status, 201, answer.text)
  return answer.body.id
}

const assertClean = (folder: string) => assert.deepEqual(scanFolder(folder, canaries), {})

test('SEC-02: two vaults share CVCs: sent once by the other, used by whoever took it and died, gone with the store', {
  skip: noRedis,
}, async (t: TestContext) => {
  const redis = await startRedis(t)
  const environment = {
    ...deadlines,
    VAULT_CVC_STORE_URL: redis.url,
    VAULT_CVC_STORE_KEY: randomBytes(32).toString('base64'),
  }
  const roles = await startRoleProcesses(t, { environment })
  await roles.start('second_vault')
  await roles.stop('platform')
  // What the platform sends goes through the second vault; cards are kept at the first.
  const second = `http://127.0.0.1:${roles.at.second_vault.internal_port}`
  await roles.start('platform', { VAULT_URL: second })
  const merchant = await merchantOf(roles)
  const [first, platform] = [merchant.at('vault'), merchant.at('platform')]

  await t.test('the other one sends it, once', async () => {
    const card = await collected(first)
    assert.equal(await merchant.cvcCheck(await merchant.charge(card)), 'pass')
    assert.equal(await merchant.cvcCheck(await merchant.charge(card)), null)
  })

  await t.test('a payment of the merchant takes none, and leaves it for the cardholder', async () => {
    const card = await collected(first)
    assert.equal(
      await merchant.cvcCheck(
        await merchant.charge(card, { initiator: 'merchant', without_agreement: true }),
      ),
      null,
    )
    assert.equal(await merchant.cvcCheck(await merchant.charge(card)), 'pass')
  })

  await t.test('the vault that collected it may die; what one that dies has taken is used', async () => {
    const card = await collected(first)
    await roles.kill('vault')
    assert.equal(await merchant.cvcCheck(await merchant.charge(card)), 'pass')
    await roles.startMissing()
    const other = await collected(first)
    await roles.kill('second_vault')
    await roles.start('second_vault', { COFFER_FAILPOINT: 'vault.forward.after_answer' })
    const { body } = await platform.createPayment({ card: other })
    await within(20_000, 'the vault does not die', () => roles.running('second_vault') === undefined)
    await roles.start('second_vault')
    await platform.settledPayment(body.id)
    const again = await merchant.charge(other)
    assert.equal(await merchant.cvcCheck(again), null)
  })

  await t.test('without the store: no CVC is taken or guessed, everything else goes on', async () => {
    const [card, plain] = [await collected(first), (await first.card()).id]
    await redis.kill()
    const unavailable = { status: 503, code: 'unavailable', retryable: true }
    assertProblem(await first.createCard(withCvc()), unavailable)
    const cvc = { body: { cvc: canaries.cvc } }
    assertProblem(await first.call('POST', `/v1/cards/${plain}/cvc`, cvc), unavailable)
    await first.card()
    for (const id of [card, plain]) {
      const payment = await merchant.charge(id)
      assert.deepEqual([payment.status, payment.failure?.code], ['failed', 'cvc_unavailable'])
    }
    assert.equal(
      (await merchant.charge(card, { initiator: 'merchant', without_agreement: true })).status,
      'captured',
    )
    assert.equal((await first.call('DELETE', `/v1/cards/${card}`)).status, 204)
    await redis.startAgain()
    const back = () => first.createCard(withCvc())
    const kept = await within(20_000, 'no CVC is taken again', async () => {
      const answer = await back()
      return answer.status === 201 ? answer.body.id : undefined
    })
    await within(20_000, 'it is not sent again', async () => {
      const payment = await merchant.charge(kept)
      return payment.status === 'captured' && (await merchant.cvcCheck(payment)) === 'pass'
    })
  })

  await t.test(
    'a vault does not start on a store that keeps data, and nothing was ever on a disk',
    async () => {
      await roles.stop('second_vault')
      await redis.command('config', 'set', 'appendonly', 'yes')
      const refused = await roles.start('second_vault')
      assert.notEqual((await refused.exited).code, 0)
      assert.match(refused.output(), /must keep nothing on disk: it has, or may have, appendonly on/)
      await redis.command('config', 'set', 'appendonly', 'no')
      assertClean(roles.folder)
      assertClean(redis.folder)
    },
  )
})

test('SEC-02: a CVC in memory is gone with its process after kill -9, and was never on a disk', async () => {
  const roles = await startRoleProcesses({ after })
  const merchant = await merchantOf(roles)
  const first = merchant.at('vault')
  const [sent, lost] = [await collected(first), await collected(first)]
  assert.equal(await merchant.cvcCheck(await merchant.charge(sent)), 'pass')
  await roles.kill('vault')
  await roles.startMissing()
  const payment = await merchant.charge(lost)
  assert.equal(payment.status, 'captured')
  assert.equal(await merchant.cvcCheck(payment), null)
  await roles.stop('vault')
  assertClean(roles.folder)
})
