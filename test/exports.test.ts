/** Taking cards out, which takes two people, and bringing them in again somewhere else. */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { newId } from '@coffer/core/ids.ts'
import type { Card, RevealedCard } from '@coffer/vault/cards/schemas.ts'
import type { Export } from '@coffer/vault/transfer/export-schemas.ts'
import type { CardSourceList, Import, ImportKey } from '@coffer/vault/transfer/import-schemas.ts'
import * as openpgp from 'openpgp'
import { type Api, apiOf, assertProblem, newMerchant, type Page } from './support/api.ts'
import { startIdentityProvider } from './support/identity-provider.ts'
import { eventually, startProduct } from './support/product.ts'

const provider = await startIdentityProvider({ after })
const product = await startProduct({ after }, { environment: provider.environment })
const owner = await newMerchant(product)
const recipient = await openpgp.generateKey({ userIDs: [{ name: 'Next vault' }], format: 'object' })
const recipient_public_key = recipient.publicKey.armor()
const recipientFingerprint = recipient.publicKey.getFingerprint().toUpperCase()

/** Somebody who signs in, and may approve. */
async function personOf(api: Api): Promise<Api> {
  const subject = randomUUID()
  const body = { subject, name: 'Grace', scopes: ['approvals', 'exports:write'] }
  const added = await api.call('POST', '/v1/users', { body })
  assert.equal(added.status, 201, added.text)
  return apiOf(api.url, (await provider.signIn(subject)).id_token)
}

async function approved(api: Api, parameters: Record<string, string>, by?: Api): Promise<string> {
  const body = { action: 'export', reason: 'moving to another vault', parameters }
  const asked = await api.call<{ id: string }>('POST', '/v1/approvals', { body })
  assert.equal(asked.status, 201, asked.text)
  if (by !== undefined) {
    const path = `/v1/approvals/${asked.body.id}/approve`
    const given = await by.call('POST', path, { body: { reason: 'as planned' } })
    assert.equal(given.status, 200, given.text)
  }
  return asked.body.id
}

const exporting = { recipient_public_key, reason: 'moving to another vault' }
const ask = (api: Api, body: object, key?: string) =>
  api.call<Export>('POST', '/v1/exports', { body, ...(key === undefined ? {} : { key }) })

const ready = (api: Api, id: string) =>
  eventually(async () => {
    const { body } = await api.call<Export>('GET', `/v1/exports/${id}`)
    return body.state === 'ready' ? body : undefined
  })

async function download(api: Api, id: string, range?: string) {
  const response = await fetch(`${api.url}/v1/exports/${id}/file`, {
    headers: { authorization: `Bearer ${api.key}`, ...(range === undefined ? {} : { range }) },
  })
  const bytes = Buffer.from(await response.arrayBuffer())
  return { status: response.status, range: response.headers.get('content-range'), bytes }
}

/** A file brought into a merchant, to its end. */
async function bringIn(api: Api, file: Buffer, input: object): Promise<Import> {
  const sha256 = createHash('sha256').update(file).digest('hex')
  const { body } = await api.call<Import>('POST', '/v1/imports', { body: { sha256, ...input } })
  await fetch(`${api.url}/v1/imports/${body.id}/file`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${api.key}` },
    body: file as Buffer<ArrayBuffer>,
  })
  return eventually(async () => {
    const now = await api.call<Import>('GET', `/v1/imports/${body.id}`)
    return now.body.ended_at === null ? undefined : now.body
  })
}

async function cardsOf(api: Api): Promise<Card[]> {
  return (await api.call<Page<Card>>('GET', '/v1/cards?limit=1000')).body.data
}

async function numberOf(api: Api, id: string): Promise<string> {
  const path = `/v1/cards/${id}/reveal`
  const answer = await api.call<RevealedCard>('POST', path, { body: { reason: 'a test of exports' } })
  return answer.body.number
}

const cards = [
  {
    number: '4242424242424242',
    cardholder_name: ' Ada  Lovelace ',
    customer: 'c1',
    metadata: { Order: ' 17 ', note: '' },
  },
  { number: '4242424242424242', customer: 'c1', billing_address: { line1: 'Main "Street"', country: 'BE' } },
  { number: '5555555555554444', exp_month: 1, exp_year: 2031, cardholder_name: 'Zoë, 李' },
]

test('SEC-11: one actor alone takes no card out, nor the same one twice; both are on record', async () => {
  const second = await personOf(owner)
  assertProblem(await ask(owner, exporting), { status: 403, code: 'approval_required', param: 'approval' })
  const parameters = { recipient: recipientFingerprint }
  const pending = await approved(owner, parameters)
  const refused = { status: 403, code: 'approval_not_granted', param: 'approval' }
  assertProblem(await ask(owner, { ...exporting, approval: pending }), refused)
  const alone = await owner.call('POST', `/v1/approvals/${pending}/approve`, { body: { reason: 'myself' } })
  assert.equal(alone.status, 403, alone.text)
  const forAnother = await approved(owner, { recipient: 'ABCD' }, second)
  assertProblem(await ask(owner, { ...exporting, approval: forAnother }), refused)
  const approval = await approved(owner, parameters, second)
  assertProblem(await ask(owner, { ...exporting, approval, filter: { customer: 'c1' } }), refused)
  const key = randomUUID()
  const made = await ask(owner, { ...exporting, approval }, key)
  assert.equal(made.status, 201, made.text)
  assert.match(made.body.approved_by, /^user:/)
  assert.equal((await ask(owner, { ...exporting, approval }, key)).text, made.text)
  assertProblem(await ask(owner, { ...exporting, approval }), {
    status: 409,
    code: 'approval_used',
    param: 'approval',
  })
  const { id } = await ready(owner, made.body.id)
  assert.equal((await download(owner, id)).status, 200)
  const path = `/v1/audit?object=${id}`
  const trail = (await owner.call<Page<{ action: string }>>('GET', path)).body.data
  assert.deepEqual(trail.map(({ action }) => action).sort(), [
    'export.create',
    'export.download',
    'export.end',
    'export.part',
  ])
})

test('a key that nothing should be encrypted to is refused before the approval is used', async () => {
  const refusedKeys = [
    'no key',
    recipient.privateKey.armor(),
    (
      await openpgp.generateKey({
        userIDs: [{ name: 'x' }],
        date: new Date('2020-01-01'),
        keyExpirationTime: 60,
      })
    ).publicKey,
  ]
  for (const text of refusedKeys)
    assertProblem(
      await ask(owner, { ...exporting, recipient_public_key: text, approval: newId('approval') }),
      {
        status: 422,
        code: 'recipient_key_invalid',
        param: 'recipient_public_key',
      },
    )
})

test('an export brought into an empty vault gives the same cards', async () => {
  const [from, to] = [await newMerchant(product), await newMerchant(product)]
  for (const card of cards) await from.createCard(card)
  const closed = (await cardsOf(from))[0]!
  await from.call('PATCH', `/v1/cards/${closed.id}`, { body: { status: 'closed' } })
  const approval = await approved(from, { recipient: recipientFingerprint }, await personOf(from))
  const { id } = (await ask(from, { ...exporting, approval })).body
  const done = await ready(from, id)
  assert.equal(done.cards_done, 3)
  const whole = await download(from, id)
  assert.equal(createHash('sha256').update(whole.bytes).digest('hex'), done.sha256)
  const [begin, rest] = [await download(from, id, 'bytes=0-99'), await download(from, id, 'bytes=100-')]
  assert.deepEqual([begin.status, begin.range], [206, `bytes 0-99/${done.bytes}`])
  assert.deepEqual(Buffer.concat([begin.bytes, rest.bytes]), whole.bytes)
  const filePath = `/v1/exports/${id}/file`
  assert.equal((await from.call('DELETE', filePath)).status, 204)
  for (const gone of [await from.call('DELETE', filePath), await from.call('GET', filePath)])
    assertProblem(gone, { status: 409, code: 'export_file_not_there', retryable: true })
  assert.equal((await from.call<Export>('GET', `/v1/exports/${id}`)).body.state, 'expired')
  assert.equal(existsSync(join(product.data_directory, 'transfer', id)), false)
  const { data } = await openpgp.decrypt({
    message: await openpgp.readMessage({ binaryMessage: new Uint8Array(whole.bytes) }),
    decryptionKeys: recipient.privateKey,
    format: 'binary',
  })
  const brought = await bringIn(to, Buffer.from(data as Uint8Array), {
    duplicates: 'none',
    source: 'old-vault',
  })
  assert.deepEqual([brought.state, brought.created], ['completed', 3])
  const same = (card: Card, number: string) => {
    const {
      id: _id,
      version: _version,
      fingerprint: _fingerprint,
      created_at: _at,
      updated_at: _up,
      ...rest
    } = card
    return { ...rest, number }
  }
  for (const card of await cardsOf(from)) {
    const query = `source=old-vault&source_id=${card.id}`
    const sources = await to.call<CardSourceList>('GET', `/v1/card_sources?${query}`)
    const arrived = (await to.call<Card>('GET', `/v1/cards/${sources.body.data[0]!.card}`)).body
    assert.deepEqual(same(arrived, await numberOf(to, arrived.id)), same(card, await numberOf(from, card.id)))
  }
})

const gpg = (() => {
  try {
    return execFileSync('gpg', ['--version']).length > 0
  } catch {
    return false
  }
})()

test('GnuPG encrypts what an import takes, and opens what an export gives', {
  skip: !gpg && 'there is no gpg',
}, async () => {
  const api = await newMerchant(product)
  const home = mkdtempSync(join(tmpdir(), 'coffer-gpg-'))
  after(async () => {
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'])
    await rm(home, { recursive: true, force: true })
  })
  const run = (...args: string[]) =>
    promisify(execFile)('gpg', ['--homedir', home, '--batch', '--trust-model', 'always', ...args])
  const file = (name: string) => join(home, name)
  const { body: key } = await api.call<ImportKey>('GET', '/v1/imports/key')
  writeFileSync(file('key.asc'), key.public_key)
  writeFileSync(file('cards.csv'), 'source_id,number,exp_month,exp_year\ngpg,4242424242424242,12,2049\n')
  await run(
    '--recipient-file',
    file('key.asc'),
    '--output',
    file('cards.gpg'),
    '--encrypt',
    file('cards.csv'),
  )
  const { readFileSync } = await import('node:fs')
  const brought = await bringIn(api, readFileSync(file('cards.gpg')), {})
  assert.deepEqual([brought.state, brought.created, brought.failure], ['completed', 1, null])

  await run('--passphrase', '', '--quick-gen-key', 'recipient@example.com', 'future-default')
  const { stdout } = await run('--armor', '--export', 'recipient@example.com')
  const fingerprint = (await openpgp.readKey({ armoredKey: stdout })).getFingerprint().toUpperCase()
  const approval = await approved(api, { recipient: fingerprint }, await personOf(api))
  const made = await ask(api, { ...exporting, recipient_public_key: stdout, approval })
  await ready(api, made.body.id)
  writeFileSync(file('out.gpg'), (await download(api, made.body.id)).bytes)
  const opened = await run('--decrypt', file('out.gpg'))
  assert.equal((JSON.parse(opened.stdout) as { number: string }).number, '4242424242424242')
})
