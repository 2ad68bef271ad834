/**
 * The process is killed at each moment of an import that leaves something half done, and started again: every row
 * becomes exactly one card, every row has exactly one verdict, and no file is left on the disk.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Failpoint } from '@coffer/core/failpoint.ts'
import type { Export } from '@coffer/vault/transfer/export-schemas.ts'
import type { Import } from '@coffer/vault/transfer/import-schemas.ts'
import * as openpgp from 'openpgp'
import { type Api, apiOf, firstApi, newMerchant, queryDatabase } from '../support/api.ts'
import { madeUpNumber } from '../support/card-numbers.ts'
import { processesIn } from '../support/processes.ts'
import { eventually, type Product, startProduct, temporaryFolder } from '../support/product.ts'

const rows = 3_500
const numbers = new Set<string>()
while (numbers.size < rows) numbers.add(madeUpNumber())
const lines = [...numbers].map((number, row) => `r${row},${number},12,2049`)
const file = Buffer.from(`source_id,number,exp_month,exp_year\n${lines.join('\n')}\n`)

const places: `${Failpoint}@${number}`[] = [
  'vault.import.after_check@1',
  'vault.import.before_chunk@1',
  'vault.import.after_chunk@1',
  'vault.import.before_chunk@3',
  'vault.import.after_chunk@4',
  'vault.import.before_end@1',
]

async function send(api: Api, input: object): Promise<string> {
  const sha256 = createHash('sha256').update(file).digest('hex')
  const { body } = await api.call<Import>('POST', '/v1/imports', { body: { sha256, ...input } })
  await fetch(`${api.url}/v1/imports/${body.id}/file`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${api.key}` },
    body: file as Buffer<ArrayBuffer>,
  }).catch(() => undefined)
  return body.id
}

async function assertWhole(product: Product, id: string, dryRun: boolean): Promise<void> {
  const api = firstApi(product)
  const ended = await eventually(async () => {
    const { body } = await api.call<Import>('GET', `/v1/imports/${id}`)
    return body.ended_at === null ? undefined : body
  })
  assert.deepEqual([ended.state, ended.created, ended.rows_done], ['completed', rows, rows])
  const { text } = await api.call('GET', `/v1/imports/${id}/report?format=jsonl`)
  const verdicts = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { row: number; card: string })
  assert.deepEqual(
    verdicts.map(({ row }) => row),
    Array.from({ length: rows }, (_, index) => index + 1),
  )
  const count = async (what: string) => {
    const [found] = await queryDatabase(product, 'vault', `select count(*)::int as found from ${what}`)
    return found!['found']
  }
  const kept = dryRun ? 0 : rows
  assert.equal(await count('cards'), kept)
  assert.equal(await count('card_versions'), kept)
  assert.equal(await count('card_sources'), kept)
  assert.equal(await count('instruments'), kept)
  const chunks = "audit_records where action = 'import.chunk'"
  assert.equal(await count(chunks), Math.ceil(rows / 1_000))
  const events = (await api.events()).filter(({ object_id }) => object_id === id)
  assert.equal(events.filter(({ type }) => type === 'import.progress').length, Math.ceil(rows / 1_000))
  assert.equal(events.filter(({ type }) => type === 'import.completed').length, 1)
  const folder = join(product.data_directory, 'transfer')
  await eventually(() => !existsSync(folder) || !readdirSync(folder).includes(id))
}

async function killAt(t: TestContext, place: string, dryRun: boolean): Promise<void> {
  const data_directory = temporaryFolder(t)
  const doomed = await startProduct(t, { data_directory, environment: { COFFER_FAILPOINT: place } })
  const id = await send(firstApi(doomed), { dry_run: dryRun })
  await eventually(() => processesIn(data_directory).length === 0)
  const product = await startProduct(t, { data_directory })
  await assertWhole(product, id, dryRun)
}

for (const place of places)
  test(`killed at ${place}: every row becomes one card`, (t) => killAt(t, place, false))

test('a dry run that was killed gives every verdict and keeps nothing', (t) =>
  killAt(t, 'vault.import.after_chunk@2', true))

for (const place of ['vault.export.after_part@1', 'vault.export.before_end@1'])
  test(`killed at ${place}: the export is whole, and only its recipient's`, async (t) => {
    const data_directory = temporaryFolder(t)
    const recipient = await openpgp.generateKey({ userIDs: [{ name: 'Next vault' }], format: 'object' })
    const doomed = await startProduct(t, { data_directory, environment: { COFFER_FAILPOINT: place } })
    const owner = await newMerchant(doomed)
    const cards = await Promise.all([...numbers].slice(0, 20).map((number) => owner.card(number)))
    const parameters = { recipient: recipient.publicKey.getFingerprint().toUpperCase() }
    const asked = { action: 'export', reason: 'moving to another vault', parameters }
    const approval = (await owner.call<{ id: string }>('POST', '/v1/approvals', { body: asked })).body.id
    await owner.approve!(approval)
    const body = { recipient_public_key: recipient.publicKey.armor(), reason: 'moving', approval }
    const { id } = (await owner.call<Export>('POST', '/v1/exports', { body })).body
    await eventually(() => processesIn(data_directory).length === 0)
    const product = await startProduct(t, { data_directory })
    const again = apiOf(product.sandbox.api_url, owner.key)
    await eventually(
      async () => (await again.call<Export>('GET', `/v1/exports/${id}`)).body.state === 'ready',
    )
    const answer = await fetch(`${again.url}/v1/exports/${id}/file`, {
      headers: { authorization: `Bearer ${owner.key}` },
    })
    const opened = await openpgp.decrypt({
      message: await openpgp.readMessage({ binaryMessage: new Uint8Array(await answer.arrayBuffer()) }),
      decryptionKeys: recipient.privateKey,
    })
    const lines = String(opened.data).trim().split('\n')
    const ids = lines.map((line) => (JSON.parse(line) as { source_id: string }).source_id)
    assert.deepEqual(ids.sort(), cards.map((card) => card.id).sort())
  })
