/** Bringing cards in, as a payments team does: over HTTP, from files as other places make them. */
import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import type { CardSourceList, Import, ImportKey } from '@coffer/vault/transfer/import-schemas.ts'
import * as openpgp from 'openpgp'
import { type Answer, type Api, assertProblem, newMerchant, type Page } from './support/api.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const api = await newMerchant(product, { connection: true })

const sha256Of = (file: string | Buffer) => createHash('sha256').update(file).digest('hex')

async function newImport(input: Record<string, unknown>, from: Api = api): Promise<Import> {
  const answer = await from.call<Import>('POST', '/v1/imports', { body: input })
  assert.equal(answer.status, 201, answer.text)
  return answer.body
}

/** As `curl -T` sends it: no content type. */
async function put(id: string, file: string | Buffer, headers: Record<string, string> = {}) {
  const response = await fetch(`${api.url}/v1/imports/${id}/file`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${api.key}`, ...headers },
    body: file as Buffer<ArrayBuffer>,
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: JSON.parse(text),
  } as Answer<Import>
}

function ended(id: string, from: Api = api): Promise<Import> {
  return eventually(async () => {
    const { body } = await from.call<Import>('GET', `/v1/imports/${id}`)
    return ['completed', 'failed', 'canceled'].includes(body.state) ? body : undefined
  })
}

const stripeFile = `${[
  'description,name,email,id,card.address_city,card.address_country,card.address_line1,card.address_line2',
  ',card.address_state,card.address_zip,card.exp_month,card.exp_year,card.id,card.name,card.number,default_source',
  ',card.transaction_ids\n',
  ',Ada,ada@example.com,cus_1,Ghent,BE,Main Street 1,,,9000,9,2049,card_1,Ada Lovelace,4242424242424242,card_1,',
  '123456789012345\n',
  ',Ada,ada@example.com,cus_1,Ghent,BE,Main Street 1,,,9000,9,2049,card_2,Ada Lovelace,4242424242424241,card_1,\n',
  ',Bob,bob@example.com,cus_2,,,,,,,1,2048,card_3,Bob,5555555555554444,card_3,\n',
  ',Bob,bob@example.com,cus_2,,,,,,,1,2048,card_4,Bob,5555555555554444,card_3,\n',
].join('')}`

test("Stripe's export becomes cards that can be charged, and every row is accounted for", async () => {
  const made = await newImport({ sha256: sha256Of(stripeFile), rows: 4 })
  assert.equal(made.state, 'awaiting_file')
  const sent = await put(made.id, stripeFile)
  assert.equal(sent.status, 200, sent.text)
  assert.equal(sent.body.bytes_received, stripeFile.length)
  const done = await ended(made.id)
  assert.deepEqual(
    [done.state, done.mapping, done.source, done.created, done.duplicate, done.invalid],
    ['completed', 'stripe', 'stripe', 2, 1, 1],
  )
  assert.deepEqual(done.ignored_columns, ['description', 'email', 'default_source'])
  const report = await api.call('GET', `/v1/imports/${made.id}/report?format=jsonl`)
  const lines = report.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    lines.map(({ row, source_id, verdict, code, param }) => [row, source_id, verdict, code, param]),
    [
      [1, 'card_1', 'created', null, null],
      [2, 'card_2', 'invalid', 'card_number_invalid', 'number'],
      [3, 'card_3', 'created', null, null],
      [4, 'card_4', 'duplicate', null, null],
    ],
  )
  const card = (await api.call<Card>('GET', `/v1/cards/${lines[0]!['card']}`)).body
  assert.equal(card.cardholder_name, 'Ada Lovelace')
  assert.equal(card.customer, 'cus_1')
  assert.equal(card.billing_address?.city, 'Ghent')
  const sources = await api.call<CardSourceList>('GET', `/v1/card_sources?card=${card.id}`)
  assert.equal(sources.body.data[0]!.network_transaction_id, '123456789012345')
  const found = await api.call<CardSourceList>('GET', '/v1/card_sources?source=stripe&source_id=card_4')
  assert.equal(found.body.data[0]!.card, lines[2]!['card'])
  const payment = await api.createPayment({ card: card.id })
  assert.equal(payment.body.status, 'captured', payment.text)
  const types = await eventually(async () => {
    const told = (await api.events()).filter(({ object_id }) => object_id === made.id)
    return told.length > 1 && told.map(({ type }) => type)
  })
  assert.deepEqual(types, ['import.progress', 'import.completed'])
})

test('an upload goes on where it was interrupted, and from nowhere else', async () => {
  const rows = Array.from({ length: 4_000 }, (_, index) => `x${index},4242424242424242,12,2049,c${index % 5}`)
  const file = Buffer.from(`source_id,number,exp_month,exp_year,customer\n${rows.join('\n')}\n`)
  const { id } = await newImport({ sha256: sha256Of(file), dry_run: true })
  const range = (first: number, part: Buffer) => ({
    'content-range': `bytes ${first}-${first + part.length - 1}/${file.length}`,
  })
  const first = file.subarray(0, 70_000)
  const begun = await put(id, first, range(0, first))
  assert.equal(begun.body.state, 'awaiting_file', begun.text)
  const at = begun.body.bytes_received
  assert.ok(at > 0 && at <= first.length)
  const wrong = file.subarray(at + 1)
  const refused = await put(id, wrong, range(at + 1, wrong))
  assertProblem(refused, { status: 409, code: 'import_offset_wrong', param: 'Content-Range' })
  for (const bad of ['bytes 0-1', 'bytes 5-4/9', 'bytes 0-9/5', 'items 0-1/2', 'bytes 0-9/*'])
    assertProblem(await put(id, file, { 'content-range': bad }), {
      status: 400,
      code: 'invalid_request',
      param: 'Content-Range',
    })
  const rest = file.subarray(at)
  const whole = await put(id, rest, range(at, rest))
  assert.equal(whole.status, 200, whole.text)
  const done = await ended(id)
  assert.deepEqual([done.state, done.created, done.duplicate], ['completed', 5, 3_995])
  const cards = await api.call<Page<Card>>('GET', '/v1/cards?customer=c1')
  assert.equal(cards.body.data.length, 0)
  assertProblem(await put(id, file), { status: 409, code: 'import_file_not_expected', retryable: true })
})

test('a file encrypted to the import key is taken, and one encrypted to another is not', async () => {
  const { body: key } = await api.call<ImportKey>('GET', '/v1/imports/key')
  const again = await api.call<ImportKey>('GET', '/v1/imports/key')
  assert.equal(again.body.public_key, key.public_key)
  const text = '{"source_id":"pgp","number":"378282246310005","exp_month":3,"exp_year":2048}\n'
  const message = () => openpgp.createMessage({ text })
  const own = await openpgp.readKey({ armoredKey: key.public_key })
  assert.equal(own.getFingerprint().toUpperCase(), key.fingerprint)
  const file = await openpgp.encrypt({ message: await message(), encryptionKeys: own, format: 'armored' })
  const { id } = await newImport({ sha256: sha256Of(file), source: 'old-vault' })
  await put(id, file)
  const done = await ended(id)
  assert.deepEqual([done.state, done.created, done.failure], ['completed', 1, null])
  const stranger = await openpgp.generateKey({ userIDs: [{ name: 'x' }], format: 'object' })
  const foreign = await openpgp.encrypt({
    message: await message(),
    encryptionKeys: stranger.publicKey,
    format: 'binary',
  })
  const other = await newImport({ sha256: sha256Of(Buffer.from(foreign)) })
  await put(other.id, Buffer.from(foreign))
  const failed = await ended(other.id)
  assert.deepEqual([failed.state, failed.failure?.code], ['failed', 'encrypted_to_another_key'])
})

test('the same request for an import is one import, and a canceled one takes no file', async () => {
  const body = { sha256: sha256Of('') }
  const key = randomUUID()
  const [one, two] = await Promise.all(
    [1, 2].map(() => api.call<Import>('POST', '/v1/imports', { body, key })),
  )
  assert.equal(one!.text, two!.text)
  const { id } = one!.body
  const cancel = () => api.call<Import>('POST', `/v1/imports/${id}/cancel`, { body: {}, key })
  const canceled = await cancel()
  assert.equal(canceled.body.state, 'canceled', canceled.text)
  assert.equal((await cancel()).text, canceled.text)
  assertProblem(await api.call('POST', `/v1/imports/${id}/cancel`, { body: {} }), {
    status: 409,
    code: 'import_state_invalid',
  })
  assertProblem(await put(id, 'x'), { status: 409, code: 'import_file_not_expected', retryable: true })
  const list = await api.call<Page<Import>>('GET', '/v1/imports?limit=2')
  assert.equal(list.body.data[0]!.id, id)
  assert.equal(list.body.data.length, 2)
  assert.ok(list.body.next_cursor !== null)
})
