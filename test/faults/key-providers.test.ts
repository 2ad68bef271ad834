import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { type Api, apiOf, assertProblem, firstApi, newMerchant } from '../support/api.ts'
import { kmsKeyArn, openBaoKeyName, openBaoToken, startTestKeyServices } from '../support/key-services.ts'
import { idFields, kindInPath, ownId } from '../support/own-objects.ts'
import { eventually, type Product, startProduct, temporaryFolder } from '../support/product.ts'
import { publicRoutesOf } from '../support/routes.ts'
import { knownValues, validRequest } from '../support/valid-requests.ts'

const root = resolve(import.meta.dirname, '..', '..')
const data_directory = temporaryFolder({ after })
const services = await startTestKeyServices({ after })
const tokenFile = join(temporaryFolder({ after }), 'token')
writeFileSync(tokenFile, openBaoToken)
const split = await coffer(['keys', 'split', '--shares', '3', '--threshold', '2'])
const keyId = /^VAULT_SHAMIR_KEY_ID=([0-9a-f]{32})$/m.exec(split)![1]!
const shares = split.split('\n').filter((line) => /^[a-z-]{60,}$/.test(line))

/** One data folder through all of them, as a deployment that goes from one provider to the next. */
const start = (provider: string) =>
  startProduct(
    { after },
    {
      data_directory,
      environment: {
        VAULT_KEY_PROVIDER: provider,
        VAULT_KMS_KEY_ARN: kmsKeyArn,
        VAULT_KMS_ENDPOINT: services.kms_url,
        VAULT_OPENBAO_URL: services.openbao_url,
        VAULT_OPENBAO_TOKEN_PATH: tokenFile,
        VAULT_OPENBAO_KEY: openBaoKeyName,
        VAULT_SHAMIR_KEY_ID: keyId,
      },
    },
  )

/** What it prints. @throws with what it says where it fails. */
async function coffer(args: string[], environment: Record<string, string> = {}, input = ''): Promise<string> {
  const child = spawn(process.execPath, ['main/cli.ts', ...args], {
    cwd: root,
    env: { PATH: process.env['PATH'], ...environment },
    timeout: 60_000,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stdin.end(input)
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(output)
  return output
}

const number = '4242424242424242'
const cards: { key: string; id: string }[] = []

/** Of a merchant of its own, whose data key is a new one. */
async function keepCard(product: Product): Promise<void> {
  const api = await newMerchant(product)
  cards.push({ key: api.key!, id: (await api.card()).id })
}

async function revealAll(product: Product): Promise<void> {
  assert.ok(cards.length > 0)
  for (const { key, id } of cards) {
    const answer = await apiOf(product.sandbox.api_url, key).call<{ number: string }>(
      'POST',
      `/v1/cards/${id}/reveal`,
      { body: { reason: 'to try it' } },
    )
    assert.equal(answer.body.number, number, answer.text)
  }
}

const wrappingKeys = async (operator: Api): Promise<string[]> => {
  const { body } = await operator.call<{ wrapping_keys: { id: string; rows: number }[] }>('GET', '/v1/keys')
  return body.wrapping_keys.filter(({ rows }) => rows > 0).map(({ id }) => id.split(':')[0]!)
}

/** A key of that person, who is an operator and nothing else. */
async function custodian(operator: Api, owner: string): Promise<string> {
  const body = { name: 'custodian', owner, scopes: ['operator'] }
  return (await operator.call<{ secret_key: string }>('POST', '/v1/api_keys', { body })).body.secret_key
}

/** Each route is sent something it would take: for want of keys it says so, or it does without. */
async function tryEveryRoute(api: Api, own: ReadonlyMap<string, string>): Promise<void> {
  const known = { ...knownValues }
  for (const [field, kind] of Object.entries(idFields))
    if (own.has(kind)) known[field] = fc.constant(own.get(kind)!)
  const wrong: string[] = []
  let sealed = 0
  for (const route of await publicRoutesOf()) {
    const kind = kindInPath(route.url)
    const id = (kind === undefined ? undefined : own.get(kind)) ?? `none_${'0'.repeat(26)}`
    for (const request of fc.sample(validRequest(route, id, known), { seed: 7, numRuns: 2 })) {
      const query = new URLSearchParams(request.query)
      const { status, text } = await api.call(route.method, `${request.path}?${query}`, {
        ...(request.body === undefined ? {} : { body: request.body }),
        ...(route.headers?.properties?.['idempotency-key'] === undefined ? {} : { key: randomUUID() }),
      })
      if (text.includes('"vault_sealed"')) sealed++
      else if (status >= 500) wrong.push(`${route.method} ${request.path}: ${status} ${text}`)
    }
  }
  assert.deepEqual(wrong, [])
  assert.ok(sealed > 10, `${sealed}`)
}

const own = new Map<string, string>()

for (const provider of ['aws-kms', 'openbao'])
  test(`${provider}: cards are kept and revealed, and so they are after a restart and under the next provider`, async () => {
    const product = await start(provider)
    if (cards.length > 0) await revealAll(product)
    await keepCard(product)
    await revealAll(product)
    assert.ok((await wrappingKeys(firstApi(product))).includes(provider))
    for (const kind of ['cards', 'tokens', 'connections', 'payments'])
      own.set(kind, await ownId(firstApi(product), kind))
    await product.stop()
  })

test('SEC-08, SEC-11: shamir: sealed at each start, and open once two people have given a share each', async () => {
  let product = await start('shamir')
  const operator = firstApi(product)
  assertProblem(await operator.call('GET', '/readyz'), { status: 503, code: 'vault_sealed', retryable: true })
  assertProblem(await operator.createCard(), { status: 503, code: 'vault_sealed', retryable: true })
  await tryEveryRoute(operator, own)
  const [ada, bob] = [await custodian(operator, 'ada'), await custodian(operator, 'bob')]
  const COFFER_API_URL = product.sandbox.api_url
  const give = (key: string, share: string) =>
    coffer(['unseal'], { COFFER_API_URL, COFFER_API_KEY: key }, `${share}\n`)
  assert.match(await give(ada, shares[0]!), /still sealed: 1 of 2/)
  await assert.rejects(give(ada, shares[1]!), /another person/)
  assert.match(await give(bob, shares[2]!), /is open/)
  await revealAll(product)
  await keepCard(product)
  await revealAll(product)
  const trail = await operator.call<{ data: { actor: string; result: string }[] }>(
    'GET',
    '/v1/audit?action=key.share_give',
  )
  assert.deepEqual(
    trail.body.data.map(({ actor, result }) => `${actor} ${result}`),
    ['bob done', 'ada refused', 'ada done', 'ada done'],
  )

  const rotation = await operator.call<{ id: string }>('POST', '/v1/keys/rotations', {
    body: { kind: 'wrapping' },
  })
  await eventually(async () => {
    const { body } = await operator.call<{ state: string }>('GET', `/v1/keys/rotations/${rotation.body.id}`)
    return body.state === 'finished'
  })
  assert.deepEqual(await wrappingKeys(operator), ['shamir'])
  await services.stop()
  await product.stop()

  product = await start('shamir')
  const [again, other] = [apiOf(product.sandbox.api_url, ada), apiOf(product.sandbox.api_url, bob)]
  const state = await again.call('GET', '/v1/keys/unseal')
  assert.deepEqual(state.body, {
    object: 'seal',
    sealed: true,
    key_id: keyId,
    shares_given: 0,
    shares_needed: null,
  })
  await again.call('POST', '/v1/keys/unseal', { body: { share: shares[1] } })
  const last = await other.call<{ sealed: boolean }>('POST', '/v1/keys/unseal', {
    body: { share: shares[0] },
  })
  assert.equal(last.body.sealed, false)
  await revealAll(product)
})
