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
import type { Import } from '@coffer/vault/transfer/import-schemas.ts'
import { type Api, firstApi, queryDatabase } from '../support/api.ts'
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
