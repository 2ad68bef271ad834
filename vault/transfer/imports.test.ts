import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, test } from 'node:test'
import { canonical } from '@coffer/core/idempotency.ts'
import { madeUpNumber } from '../../test/support/card-numbers.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, rowsOf, serialize, testCard } from '../test-vault.ts'
import { openTestTransfer } from './test-transfer.ts'

const postgres = await startTestPostgres({ after })
const transfer = await openTestTransfer({ after }, postgres)

const columns = 'source_id,number,exp_month,exp_year,cardholder_name,customer,country,network_transaction_id'
const csv = (...rows: string[]) => `${columns}\n${rows.join('\n')}\n`
const good = '4242424242424242'

/** A row, and what it is told: verdict, code and parameter. */
const verdictTable: [row: string, verdict: string, code?: string, param?: string][] = [
  [`a,${good},12,2030,Ada,cus_1,BE,123456789012345`, 'created'],
  ['b,4242 4242-4242 4242,1,30,Ada,cus_2,be,', 'created'],
  [`c,${good},12,2030,Someone else,cus_1,,`, 'duplicate'],
  ['a,5555555555554444,12,2030,,,,', 'duplicate'],
  ['d,4242424242424241,12,2030,,,,', 'invalid', 'card_number_invalid', 'number'],
  ['e,,12,2030,,,,', 'invalid', 'invalid_request', 'number'],
  ['f,4242x,12,2030,,,,', 'invalid', 'invalid_request', 'number'],
  [`g,${good},13,2030,,,,`, 'invalid', 'invalid_request', 'exp_month'],
  [`h,${good},,2030,,,,`, 'invalid', 'invalid_request', 'exp_month'],
  [`i,${good},12,203,,,,`, 'invalid', 'invalid_request', 'exp_year'],
  [`j,${good},1,2020,,,,`, 'invalid', 'card_expired', 'exp_year'],
  [`,${good},12,2030,,,,`, 'invalid', 'invalid_request', 'source_id'],
  [`${good},${good},12,2030,,,,`, 'invalid', 'card_number_in_wrong_field', 'source_id'],
  [`k,${good},12,2030,${good},,,`, 'invalid', 'card_number_in_wrong_field', 'cardholder_name'],
  [`l,${good},12,2030,${'x'.repeat(201)},,,`, 'invalid', 'invalid_request', 'cardholder_name'],
  [`m,${good},12,2030,,${'x'.repeat(256)},,`, 'invalid', 'invalid_request', 'customer'],
  [`n,${good},12,2030,,,XX,`, 'invalid', 'invalid_request', 'billing_address.country'],
  [`o,${good},12,2030,,,,${good}`, 'invalid', 'card_number_in_wrong_field', 'network_transaction_id'],
]

test('every row has its verdict, one bad row stops nothing, and no value of a bad row is kept', async () => {
  const { caller, import: ended, verdicts } = await transfer.run(csv(...verdictTable.map(([row]) => row)))
  assert.equal(ended.state, 'completed')
  assert.deepEqual(
    verdicts.map(([, , verdict, , , code, param]) => [verdict, code, param]),
    verdictTable.map(([, verdict, code = null, param = null]) => [verdict, code, param]),
  )
  assert.deepEqual([ended.created, ended.duplicate, ended.invalid], [2, 2, 14])
  assert.equal(verdicts[2]![3], verdicts[0]![3], 'a duplicate names the card that it is')
  const revealed = await transfer.cards.reveal(caller, verdicts[1]![3]!, 'a test')
  assert.deepEqual([revealed.number, revealed.exp_year], [good, 2030])
  const kept = JSON.stringify([verdicts, await rowsOf(postgres, 'import_chunks', caller.merchant_id)])
  assert.doesNotMatch(kept, /424242424242/)
  const actions = (await rowsOf(postgres, 'audit_records', caller.merchant_id)).map((row) => row['action'])
  assert.equal(actions.filter((action) => action === 'import.chunk').length, 1)
})

test('what is written of a card is what a card that is sent by itself has', async () => {
  const { caller, verdicts } = await transfer.run(csv(`a,${good},12,2030,Ada,cus_1,BE,`))
  const imported = await transfer.cards.get(caller.merchant_id, verdicts[0]![3]!)
  const input = testCard({ cardholder_name: 'Ada', customer: 'cus_1', billing_address: { country: 'BE' } })
  const sent = JSON.parse((await transfer.cards.create(caller, input, null, serialize)).body)
  const { id: _id, version: _version, ...rest } = imported
  const { id: _sentId, version: _sentVersion, ...expected } = sent
  assert.deepEqual(rest, expected)
})

const brokenTable: [what: string, file: string | Buffer, code: string][] = [
  ['nothing', '', 'format_unknown'],
  ['a zip', Buffer.from('PK\x03\x04rest'), 'format_unknown'],
  ['an array', '[{"source_id":"a"}]', 'format_unknown'],
  ['an open quotation mark', csv(`a,${good},12,2030,"Ada,,,`), 'csv_malformed'],
  ['a quotation mark within', csv(`a,${good},12,2030,A"da"x,,,`), 'csv_malformed'],
  ['too many columns', csv(`a,${good},12,2030,,,,,x`), 'csv_malformed'],
  ['a line that was cut', csv(`a,${good},12,2030,,,,`, `b,${good},1`), 'csv_malformed'],
  ['Latin-1', Buffer.from(csv(`a,${good},12,2030,Andr\xe9,,,`), 'latin1'), 'encoding_invalid'],
  ['UTF-16', Buffer.from(csv(`a,${good},12,2030,Ada,,,`), 'utf16le'), 'columns_unknown'],
  ['a row of 64 KiB', csv(`a,${good},12,2030,${'x'.repeat(65_536)},,,`), 'row_too_large'],
  ['no header', `a,${good},12,2030\n`, 'columns_unknown'],
  ['a column too many', 'source_id,number,exp_month,exp_year,shoe_size\n', 'columns_unknown'],
  ['a column twice', 'source_id,number,number,exp_month,exp_year\n', 'columns_unknown'],
  [
    'a security code',
    `source_id,number,exp_month,exp_year,cvc\na,${good},12,2030,123\n`,
    'security_code_in_file',
  ],
  [
    'JSON that was cut',
    `{"source_id":"a","number":"${good}","exp_month":12,"exp_year":2030}\n{"so`,
    'json_malformed',
  ],
  ['a file of OpenPGP that was cut', '-----BEGIN PGP MESSAGE-----\n\nwV4D', 'encrypted_to_another_key'],
]

test('a broken file creates nothing, says what is wrong, and is gone from the disk', async () => {
  for (const [what, file, code] of brokenTable) {
    const { caller, import: ended, verdicts } = await transfer.run(file)
    assert.deepEqual([ended.state, ended.failure?.code], ['failed', code], what)
    assert.deepEqual(verdicts, [], what)
    assert.doesNotMatch(JSON.stringify(ended), /4242424242/, what)
    assert.equal((await rowsOf(postgres, 'cards', caller.merchant_id)).length, 0, what)
    assert.ok(!readdirSync(transfer.folder).includes(ended.id), what)
  }
  const row = `a,${good},12,2030,,,,`
  const digest = await transfer.run(csv(row), { sha256: '0'.repeat(64) })
  assert.equal(digest.import.failure?.code, 'digest_differs')
  const rows = await transfer.run(csv(row), { rows: 2 })
  assert.equal(rows.import.failure?.code, 'rows_differ')
  const mapping = await transfer.run(csv(row), { mapping: 'stripe' })
  assert.equal(mapping.import.failure?.code, 'columns_missing')
})

test('a file run twice creates nothing twice, and a deleted card is not brought back', async () => {
  const file = csv(`a,${good},12,2030,,,,`, 'b,5555555555554444,12,2030,,,,')
  const { caller, verdicts } = await transfer.run(file)
  const again = await transfer.run(file, {}, caller)
  assert.deepEqual([again.import.created, again.import.duplicate], [0, 2])
  assert.deepEqual(
    again.verdicts.map((verdict) => verdict[3]),
    verdicts.map((verdict) => verdict[3]),
  )
  await transfer.changes.remove(caller, verdicts[0]![3]!)
  const third = await transfer.run(file, {}, caller)
  assert.deepEqual(
    third.verdicts.map((verdict) => [verdict[2], verdict[3], verdict[5]]),
    [
      ['duplicate', verdicts[0]![3], 'card_deleted'],
      ['duplicate', verdicts[1]![3], null],
    ],
  )
  const other = await transfer.run(file, { source: 'elsewhere' }, caller)
  assert.deepEqual([other.import.created, other.import.duplicate], [1, 1])
})

test('what counts as a duplicate is the choice of who asks', async () => {
  const file = csv(`a,${good},12,2030,,x,,`, `b,${good},12,2030,,x,,`, `c,${good},12,2030,,y,,`)
  const created = async (input: object) => (await transfer.run(file, input)).import.created
  assert.equal(await created({}), 2)
  assert.equal(await created({ duplicates: 'number' }), 1)
  assert.equal(await created({ duplicates: 'none' }), 3)
  assert.equal(await created({ dry_run: true }), 2)
  const expired = await transfer.run(csv(`a,${good},1,2020,,,,`), { keep_expired: true })
  assert.equal(expired.import.created, 1)
})

test('a policy of one card a number holds for files, and against cards that are added meanwhile', async () => {
  const caller = newCaller()
  const text = 'insert into card_policies (merchant_id, duplicates) values ($1, $2)'
  await postgres.query('coffer_vault_migrator', text, [caller.merchant_id, 'reject'])
  const numbers = Array.from({ length: 60 }, () => madeUpNumber())
  const file = csv(
    ...numbers.flatMap((number, row) => [`a${row},${number},12,2030,,x,,`, `b${row},${number},12,2030,,y,,`]),
  )
  const [run] = await Promise.all([
    transfer.run(file, { duplicates: 'none' }, caller),
    ...numbers.map((number) =>
      transfer.cards.create(caller, testCard({ number }), null, serialize).catch(() => undefined),
    ),
  ])
  assert.equal(run.import.created + run.import.duplicate, 120)
  assert.equal((await rowsOf(postgres, 'cards', caller.merchant_id)).length, 60)
})

test('a dry run gives the verdicts of a run and leaves no card, number or source', async () => {
  const rows = Array.from({ length: 2_100 }, (_, index) => `r${index},${good},12,2030,,c${index % 1_500},,`)
  const dry = await transfer.run(csv(...rows), { dry_run: true })
  assert.deepEqual([dry.import.created, dry.import.duplicate], [1_500, 600])
  for (const table of ['cards', 'card_versions', 'instruments', 'card_sources'])
    assert.equal((await rowsOf(postgres, table, dry.caller.merchant_id)).length, 0, table)
  const real = await transfer.run(csv(...rows), {}, dry.caller)
  assert.deepEqual(
    real.verdicts.map((verdict) => verdict[2]),
    dry.verdicts.map((verdict) => verdict[2]),
  )
})

test('SEC-01: a file that waits is on the disk encrypted, bound to its place, and opens for nobody else', async () => {
  const number = madeUpNumber()
  const caller = newCaller()
  const file = Buffer.from(
    csv(...Array.from({ length: 900 }, (_, row) => `r${row},${number},12,2030,Canary,,,`)),
  )
  const { id } = await transfer.begin(caller, file)
  const path = join(transfer.folder, id, readdirSync(join(transfer.folder, id))[0]!)
  const bytes = readFileSync(path)
  for (const text of [number, number.slice(0, 8), 'Canary'])
    for (const form of [
      text,
      Buffer.from(text).toString('base64').slice(0, 8),
      Buffer.from(text).toString('hex'),
    ])
      assert.ok(!bytes.includes(form), form)
  await transfer.work()
  assert.equal((await transfer.imports.get(caller.merchant_id, id)).created, 1)
  assert.ok(!readdirSync(transfer.folder).includes(id))
})

test('an upload that was cut off counts as far as it came, and the rest makes the same file', async () => {
  const caller = newCaller()
  const file = Buffer.from(
    csv(...Array.from({ length: 4_000 }, (_, row) => `r${row},${good},12,2030,,c${row},,`)),
  )
  const sha256 = createHash('sha256').update(file).digest('hex')
  const made = await transfer.imports.create(caller, { sha256 }, null, canonical)
  const { id } = JSON.parse(made.body) as { id: string }
  async function* cut() {
    yield file.subarray(0, 100_000)
    throw new Error('the connection was lost')
  }
  const body = Readable.from(cut())
  const part = await transfer.imports.upload(caller, id, body, { offset: 0, total: file.length })
  assert.deepEqual([part.state, part.bytes_received], ['awaiting_file', 65_536])
  const rest = { offset: part.bytes_received, total: file.length }
  await transfer.imports.upload(caller, id, Readable.from([file.subarray(rest.offset)]), rest)
  await transfer.work()
  assert.equal((await transfer.imports.get(caller.merchant_id, id)).created, 4_000)
})

test('once the keys of a merchant are destroyed its import ends and says so, and is not tried for ever', async () => {
  const caller = newCaller()
  const { id } = await transfer.begin(caller, Buffer.from(csv(`a,${good},12,2030,,,,`)))
  await postgres.query(
    'coffer_vault_migrator',
    `with revoked as (
       update data_keys set superseded_at = now(), revoked_at = now() where merchant_id = $1)
     insert into key_destructions (merchant_id, destruction_id, state, reason, approval_id, requested_by, approved_by,
       requested_at) values ($1, 'kdes_2', 'revoking', 'a test', 'appr_2', 'ada', 'grace', now())`,
    [caller.merchant_id],
  )
  const elsewhere = await openTestTransfer({ after }, postgres, { folder: transfer.folder })
  await elsewhere.work()
  const ended = await elsewhere.imports.get(caller.merchant_id, id)
  assert.deepEqual([ended.state, ended.failure?.code], ['failed', 'keys_destroyed'])
})

test('F-09: a full disk refuses an upload for now, and with room again it is gone on with', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-test-small-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=0700', 'none', folder], { stdio: 'ignore' })
  } catch {
    rmSync(folder, { recursive: true })
    return t.skip('only root can mount a small disk')
  }
  t.after(() => {
    execFileSync('umount', [folder])
    rmSync(folder, { recursive: true })
  })
  const small = await openTestTransfer({ after }, postgres, { folder })
  const caller = newCaller()
  const file = Buffer.from(csv(...Array.from({ length: 30_000 }, (_, row) => `s${row},${good},12,2030,,,,`)))
  const sha256 = createHash('sha256').update(file).digest('hex')
  const asked = await small.imports.create(caller, { sha256 }, null, (made) => JSON.stringify(made))
  const { id } = JSON.parse(asked.body) as { id: string }
  const upload = () =>
    small.imports.upload(caller, id, Readable.from([file]), { offset: 0, total: file.length })
  await assert.rejects(upload(), { code: 'unavailable', retryAfterSeconds: 1 })
  execFileSync('mount', ['-o', 'remount,size=8m', folder])
  assert.equal((await upload()).state, 'checking')
})
