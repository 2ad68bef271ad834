/** People of a sandbox: who signs in at its simulated identity provider, or at one of the reader's own. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { request } from 'undici'
import { apiOf, assertProblem } from './support/api.ts'
import { startIdentityProvider } from './support/identity-provider.ts'
import { type Product, startProduct, temporaryFolder } from './support/product.ts'

const issuerOf = ({ data_directory }: Product): string | undefined =>
  JSON.parse(readFileSync(join(data_directory, 'sandbox.json'), 'utf8')).identity_provider

/** Asked for by a key, approved by a person; and used by the key that asked. */
async function approveAsPerson(product: Product, tokenOf: (subject: string) => Promise<string>) {
  const user = { subject: 'ben', name: 'Ben', scopes: ['approvals'] }
  const first = apiOf(product.sandbox.api_url, product.sandbox.secret_key)
  assert.equal((await first.call('POST', '/v1/users', { body: user })).status, 201)
  const card = await first.call<{ id: string }>('POST', '/v1/cards', {
    body: { number: '4242424242424242', exp_month: 12, exp_year: 2049 },
  })
  const cards = [card.body.id]
  const asked = await first.call<{ id: string }>('POST', '/v1/approvals', {
    body: { action: 'card.bulk_reveal', reason: 'an audit', parameters: { cards } },
  })
  const approve = (as: ReturnType<typeof apiOf>) =>
    as.call('POST', `/v1/approvals/${asked.body.id}/approve`, { body: {} })
  assertProblem(await approve(first), { status: 403, code: 'person_required' })
  const ben = apiOf(product.sandbox.api_url, await tokenOf('ben'))
  assert.equal((await approve(ben)).status, 200)
  const reveal = { body: { cards, reason: 'an audit', approval: asked.body.id } }
  assert.equal((await first.call('POST', '/v1/cards/reveal', reveal)).status, 200)
  // Who is nobody's user is nobody, whoever vouches for them.
  const stranger = apiOf(product.sandbox.api_url, await tokenOf('eve'))
  assertProblem(await stranger.call('GET', '/v1/approvals'), { status: 401, code: 'unauthenticated' })
}

test('a sandbox has people: its own identity provider signs anybody in, also after a restart', async (t) => {
  const folder = join(temporaryFolder(t), 'data')
  const product = await startProduct(t, { data_directory: folder })
  const issuer = issuerOf(product)!
  assert.match(product.output(), new RegExp(`People +${issuer}/token\\?subject=`))
  const tokenOf = async (subject: string) => {
    const answer = await request(`${issuer}/token?subject=${subject}`)
    return (await answer.body.text()).trim()
  }
  await approveAsPerson(product, tokenOf)
  const token = await tokenOf('ben')
  await product.stop()
  const again = await startProduct(t, { data_directory: folder })
  assert.equal(issuerOf(again), issuer)
  assert.equal((await apiOf(again.sandbox.api_url, token).call('GET', '/v1/approvals')).status, 200)
})

test("a sandbox takes the reader's identity provider in place of its own", async (t) => {
  const provider = await startIdentityProvider(t)
  const product = await startProduct(t, { environment: provider.environment })
  assert.equal(issuerOf(product), undefined)
  await approveAsPerson(product, async (subject) => (await provider.signIn(subject)).id_token)
})
