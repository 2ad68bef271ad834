/** The sealer over a real database: every committed record gets one place, whatever order commits come in. */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { firstHash, nextHash, openCheckpoint, recordColumns, recordText } from './audit-chain.ts'
import { checkpointFileName, openCheckpointFile, parseSigned } from './audit-checkpoint-file.ts'
import { holdLease, releaseLease, unsealedSeconds } from './audit-seal-queries.ts'
import { newId } from './ids.ts'
import { registry } from './metrics.ts'
import { testAudit, until } from './test-audit.ts'

const audit = await testAudit({ after })
const { asMigrator, folder, sealedIds } = audit
const merchant = newId('merchant')
const exported = join(folder, checkpointFileName('vault'))
const publicKey = createPublicKey(createPrivateKey(audit.postgres.environment['VAULT_AUDIT_KEY']!))

const linesOf = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n')

test('SEC-18: a record is sealed as soon as it is committed, and one that commits late takes its place behind', async () => {
  const [slow, quick] = [await audit.connect(), await audit.connect()]
  await slow.query('begin')
  const late = await audit.write(slow, merchant)
  const sealer = audit.startSealer()
  const first = await audit.write(quick, merchant)
  await until(async () => (await sealedIds()).includes(first))
  const second = await audit.write(quick, merchant)
  await until(async () => (await sealedIds()).includes(second))
  assert.deepEqual(await sealedIds(), [first, second])
  await slow.query('commit')
  await until(async () => (await sealedIds()).length === 3)
  await slow.query('begin')
  await audit.write(slow, merchant)
  await slow.query('rollback')
  const third = await audit.write(quick, merchant)
  await sealer.stop()
  assert.deepEqual(await sealedIds(), [first, second, late, third])
})

test('SEC-18: the chain is what anybody can make again from the records, and the exported checkpoint signs its end', async () => {
  let chained: Buffer = firstHash('vault')
  for (const id of await sealedIds()) {
    const text = `select ${recordColumns('vault')} from audit_records where merchant_id = $1 and audit_id = $2`
    const [record] = await asMigrator(text, [merchant, id])
    chained = nextHash(chained, recordText('vault', record as never))
  }
  const [chain] = await asMigrator('select hash, sequence from audit_chains')
  assert.deepEqual(
    [(chain!['hash'] as Buffer).toString('hex'), chain!['sequence']],
    [chained.toString('hex'), '4'],
  )
  const checkpoint = openCheckpoint(parseSigned(linesOf(exported).at(-1)!)!, [publicKey])
  assert.deepEqual([checkpoint?.sequence, checkpoint?.hash], [4, chained.toString('hex')])
})

test('the text of a record holds every column of the table in every zone', async () => {
  for (const zone of ['access', 'vault', 'platform'] as const) {
    const columns = await audit.postgres.query(
      `coffer_${zone}_migrator`,
      `select attname from pg_attribute where attrelid = 'audit_records'::regclass and attnum > 0
         and not attisdropped and attname <> 'transaction_id'`,
    )
    const names = columns.map((row) => row['attname'] as string)
    for (const name of names) assert.match(recordColumns(zone), new RegExp(`\\b${name}\\b`))
    const record = Object.fromEntries(
      names.map((name) => [name, name === 'ciphertext_hash' ? Buffer.from(name) : name]),
    )
    const told = Object.values(JSON.parse(recordText(zone, record as never)))
    const hashed = Buffer.from('ciphertext_hash').toString('hex')
    for (const name of names) assert.ok(told.includes(name === 'ciphertext_hash' ? hashed : name), name)
  }
})

test('more than a batch is sealed in order, every record once, by two sealers at the same time', async () => {
  const before = (await sealedIds()).length
  await asMigrator(
    `insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address, result)
     select $1, 'aud_' || lpad(n::text, 26, '0'), 'ada', '', 'card.erase', '', '', '', 'done'
     from generate_series(1, 4500) n`,
    [newId('merchant')],
  )
  const writer = await audit.connect()
  const sealers = [audit.startSealer(), audit.startSealer()]
  for (let index = 0; index < 50; index++) await audit.write(writer, merchant)
  await until(async () => (await sealedIds()).length >= before + 4550)
  await Promise.all(sealers.map((sealer) => sealer.stop()))
  const ids = await sealedIds()
  assert.deepEqual([ids.length, new Set(ids).size], [before + 4550, before + 4550])
  const seals = await asMigrator(
    'select first_sequence, cardinality(audit_ids) as n from audit_seals order by 1',
  )
  let next = 1
  for (const { first_sequence, n } of seals) {
    assert.equal(Number(first_sequence), next)
    next += Number(n)
  }
  const sequences = linesOf(exported).map((line) => openCheckpoint(parseSigned(line)!, [publicKey])!.sequence)
  assert.deepEqual(
    sequences,
    [...new Set(sequences)].sort((a, b) => a - b),
  )
  assert.equal(sequences.at(-1), ids.length)
})

test('records that fill batches to the last place are sealed, and so are those after them', async () => {
  const sealed = async () => (await sealedIds()).length
  const age = () => unsealedSeconds(audit.postgres.open('coffer_vault_relay'), 'vault')
  for (const count of [250, 500]) {
    const before = await sealed()
    await asMigrator(
      `insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address, result)
       select $1, 'aud_' || lpad(n::text, 26, '0'), 'ada', '', 'card.erase', '', '', '', 'done'
       from generate_series(1, $2::int) n`,
      [newId('merchant'), count],
    )
    const sealer = audit.startSealer()
    await until(async () => (await sealed()) >= before + count)
    await audit.write(await audit.connect(), merchant)
    await until(async () => (await sealed()) === before + count + 1)
    assert.equal(await age(), 0)
    await sealer.stop()
  }
})

test('the age of what is not sealed is told also while the sealer is in the middle of a snapshot', async () => {
  const relay = audit.postgres.open('coffer_vault_relay')
  const writer = await audit.connect()
  const beginning = await audit.write(writer, merchant)
  // As a sealer leaves it that ended between two batches.
  await asMigrator(
    `update audit_chains set sealing_snapshot = pg_current_snapshot(), (last_transaction_id, last_merchant_id, last_audit_id) =
       (select transaction_id, merchant_id, audit_id from audit_records where audit_id = $1)`,
    [beginning],
  )
  assert.equal(await unsealedSeconds(relay, 'vault'), 0)
  await audit.write(writer, merchant)
  await until(async () => (await unsealedSeconds(relay, 'vault')) > 0.01)
  const sealer = audit.startSealer()
  await until(async () => (await unsealedSeconds(relay, 'vault')) === 0)
  await sealer.stop()
})

test('a sealer whose lease is lost seals nothing, and another goes on where it was', async () => {
  const relay = audit.postgres.open('coffer_vault_relay')
  await until(async () => (await holdLease(relay, 'vault', 'another')) !== undefined)
  const sealer = audit.startSealer()
  const writer = await audit.connect()
  const id = await audit.write(writer, merchant)
  await sealer.stop()
  assert.ok(!(await sealedIds()).includes(id))
  await releaseLease(relay, 'vault', 'another')
  const successor = audit.startSealer()
  await until(async () => (await sealedIds()).includes(id))
  await successor.stop()
})

test('SEC-38: an export that fails is counted and told, loses nothing, and goes on when it can', async () => {
  const failures = async () =>
    Number(
      /coffer_audit_failures_total\{zone="vault",step="export"\} (\d+)/.exec(await registry.metrics())![1],
    )
  const before = await failures()
  const blocked = join(folder, 'blocked')
  writeFileSync(blocked, 'a file where the folder should be')
  const writer = await audit.connect()
  await audit.write(writer, merchant)
  const sealer = audit.startSealer(join(blocked, 'below'))
  await until(async () => sealer.warnings().length > 0)
  assert.match(sealer.warnings().join(), /^audit export: /)
  assert.ok((await failures()) > before)
  rmSync(blocked)
  await until(async () => sealer.warnings().length === 0)
  await sealer.stop()
  assert.equal(
    linesOf(join(blocked, 'below', checkpointFileName('vault'))).length,
    (await asMigrator('select from audit_checkpoints')).length,
  )
})

test('SEC-38: a database that is behind its exported checkpoints is told, and the file is left as it is', async () => {
  const signed = linesOf(exported).at(-1)!
  const checkpoint = JSON.parse(JSON.parse(signed).checkpoint)
  const further = JSON.stringify({ ...checkpoint, sequence: checkpoint.sequence + 1_000_000 })
  appendFileSync(exported, `${JSON.stringify({ checkpoint: further, signature: 'x' })}\n{"half a li`)
  const before = readFileSync(exported, 'utf8')
  const sealer = audit.startSealer()
  await until(async () => sealer.warnings().length > 0)
  assert.match(sealer.warnings().join(), /audit export: the exported checkpoints reach to record 1\d{6}/)
  await sealer.stop()
  assert.equal(readFileSync(exported, 'utf8'), before)
})

test('half a line that a crash has left does not spoil the next one', () => {
  const at = join(folder, 'torn')
  const line = { checkpoint: JSON.stringify({ sequence: 7 }), signature: 'x' }
  openCheckpointFile(at, 'vault').append([line], 7n)
  appendFileSync(join(at, checkpointFileName('vault')), '{"checkpoint":"{')
  const file = openCheckpointFile(at, 'vault')
  assert.equal(file.lastSequence(), 7n)
  file.append([{ ...line, checkpoint: JSON.stringify({ sequence: 9 }) }], 9n)
  assert.equal(openCheckpointFile(at, 'vault').lastSequence(), 9n)
})
