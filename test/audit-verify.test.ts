/** What `coffer audit verify` and `export` promise: whatever is done to the trail in SQL is found, and named. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { after, test } from 'node:test'
import { firstHash, nextHash, recordColumns, recordText } from '@coffer/core/audit-chain.ts'
import { checkpointFileName } from '@coffer/core/audit-checkpoint-file.ts'
import { testAudit, until } from '@coffer/core/test-audit.ts'
import { systemClock } from '@coffer/core/time.ts'
import fc from 'fast-check'
import pg from 'pg'
import { exportTrail } from '../main/audit/export.ts'
import type { Trail } from '../main/audit/trails.ts'
import { openTrail, verifyTrail } from '../main/audit/verify.ts'
import { cardProblem } from '../main/audit/verify-cards.ts'
import type { Problem } from '../main/audit/verify-chain.ts'
import { verifyTokens } from '../main/audit/verify-tokens.ts'
import { keepCard, newCaller, openTestVault } from '../vault/test-vault.ts'
import { runCommand, temporaryFolder } from './support/product.ts'

const audit = await testAudit({ after })
const { postgres, folder } = audit
const superuser = new pg.Client({ connectionString: postgres.url('postgres').expose() })
// PostgreSQL stops before this connection is closed.
superuser.on('error', () => {})
await superuser.connect()
after(() => superuser.end())
const asSuperuser = async (text: string, values?: unknown[]): Promise<Record<string, unknown>[]> =>
  (await superuser.query(text, values)).rows
const checkpointFile = join(folder, checkpointFileName('vault'))
const publicKey = createPublicKey(createPrivateKey(postgres.environment['VAULT_AUDIT_KEY']!))
const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
const trail: Trail = {
  zone: 'vault',
  database_url: postgres.url('coffer_vault_auditor').expose(),
  public_keys: [publicKey],
  checkpoint_file: checkpointFile,
}
const silent = () => {}

const vault = await openTestVault(postgres, undefined, systemClock)
const cards: Awaited<ReturnType<typeof keepCard>>[] = []
for (let round = 0; round < 2; round++) {
  // Two stretches of work, each with a checkpoint at its end.
  const sealer = audit.startSealer()
  for (let index = 0; index < 4; index++) cards.push(await keepCard(postgres, vault))
  for (const card of cards) await card.update({ exp_month: 1, exp_year: 2031 + round })
  for (const card of cards) await vault.cards.reveal(card.caller, card.card.id, 'a dispute')
  await until(async () => (await audit.sealedIds()).length === [12, 32][round])
  await sealer.stop()
}
const ids = await audit.sealedIds()
const checkpointsText = readFileSync(checkpointFile, 'utf8')
const tables = ['audit_records', 'audit_seals', 'audit_chains', 'audit_checkpoints', 'cards', 'card_versions']
for (const table of tables) await asSuperuser(`create table kept_${table} as table ${table}`)

/** What is found after something was done; then all is put back. */
async function problemsAfter(work: () => unknown, changes: Partial<Trail> = {}): Promise<Problem[]> {
  await work()
  const { problems } = await verifyTrail({ ...trail, ...changes }, silent)
  writeFileSync(checkpointFile, checkpointsText)
  const restored = tables.map((table) => `delete from ${table}; insert into ${table} table kept_${table};`)
  await asSuperuser(
    `set session_replication_role = replica; ${restored.join(' ')} reset session_replication_role`,
  )
  return problems
}
const told = (problems: Problem[]) => problems.map(({ kind, id, sequence }) => [kind, id ?? sequence])

test('SEC-18: a trail that nobody touched is whole', async () => {
  const report = await verifyTrail(trail, silent)
  assert.deepEqual(report, {
    zone: 'vault',
    records: 32,
    checkpoints: 2,
    cards: 8,
    cards_without_hash: 0,
    tokens: 0,
    problems: [],
  })
})

test('SEC-18: one byte that was changed is found, in whichever column, and the record named', async () => {
  const columns = ['actor', 'key_id', 'action', 'object_id', 'request_id', 'source_address', 'result']
  for (const [index, column] of columns.entries()) {
    const id = ids[index * 5]!
    const change = () =>
      asSuperuser(`update audit_records set ${column} = ${column} || 'x' where audit_id = $1`, [id])
    assert.deepEqual(told(await problemsAfter(change)), [['record_changed', id]], column)
  }
  for (const change of [
    `at = at + interval '1 microsecond'`,
    `reason = 'another'`,
    `ciphertext_hash = sha256('another')`,
  ]) {
    const problems = await problemsAfter(() =>
      asSuperuser(`update audit_records set ${change} where audit_id = $1`, [ids[7]]),
    )
    assert.ok(
      told(problems).some(([kind, id]) => kind === 'record_changed' && id === ids[7]),
      change,
    )
  }
})

test('SEC-18: a record that was removed, given to another merchant, or exchanged with another is named', async () => {
  const removed = await problemsAfter(() =>
    asSuperuser('delete from audit_records where audit_id = $1', [ids[11]]),
  )
  assert.deepEqual(told(removed), [['record_missing', ids[11]]])
  const given = await problemsAfter(() =>
    asSuperuser(`update audit_records set merchant_id = 'mer_x' where audit_id = $1`, [ids[12]]),
  )
  assert.deepEqual(told(given).at(0), ['record_missing', ids[12]])
  const exchanged = await problemsAfter(async () => {
    const exchange = 'update audit_records set audit_id = $2 where audit_id = $1'
    // Of one merchant: its creation and its reveal.
    const [first, second] = await asSuperuser(
      'select audit_id from audit_records where merchant_id = $1 order by audit_id limit 2',
      [cards[0]!.caller.merchant_id],
    )
    await asSuperuser(exchange, [first!['audit_id'], 'aud_between'])
    await asSuperuser(exchange, [second!['audit_id'], first!['audit_id']])
    await asSuperuser(exchange, ['aud_between', second!['audit_id']])
  })
  assert.deepEqual(
    told(exchanged)
      .map(([kind]) => kind)
      .slice(0, 2),
    ['record_changed', 'record_changed'],
  )
})

test('SEC-18: a record that was put in past the sealer is named', async () => {
  for (const transaction of ['2', '(pg_current_xact_id()::text::bigint + 1000000)']) {
    const problems = await problemsAfter(() =>
      asSuperuser(
        `insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
           result, transaction_id)
         values ('mer_x', 'aud_forged', 'ada', '', 'card.delete', 'card_x', '', '', 'done', ${transaction})`,
      ),
    )
    assert.deepEqual(told(problems), [['record_without_place', 'aud_forged']])
  }
})

test('SEC-18: a tail that was cut off without a trace in the database is found by the exported checkpoint', async () => {
  const cut = async () => {
    const [last] = await asSuperuser('select max(first_sequence) as first_sequence from audit_seals')
    const from = Number(last!['first_sequence'])
    await asSuperuser('delete from audit_records where audit_id = any($1)', [ids.slice(from - 1)])
    await asSuperuser('delete from audit_seals where first_sequence = $1', [from])
    await asSuperuser('delete from audit_checkpoints where sequence >= $1', [from])
    await asSuperuser(
      `update audit_chains set sequence = $1 - 1,
         hash = (select hashes[cardinality(hashes)] from audit_seals order by first_sequence desc limit 1)`,
      [from],
    )
    cutAt = from
  }
  let cutAt = 0
  const problems = await problemsAfter(cut)
  assert.deepEqual(told(problems)[0], ['cut_off', cutAt])
  // Its records alone: then the places are left.
  const records = await problemsAfter(() =>
    asSuperuser('delete from audit_records where audit_id = any($1)', [ids.slice(-3)]),
  )
  assert.deepEqual(
    told(records).slice(0, 3),
    ids.slice(-3).map((id) => ['record_missing', id]),
  )
  const places = await problemsAfter(() => asSuperuser('delete from audit_seals where first_sequence = 1'))
  assert.deepEqual(told(places)[0], ['places_missing', 1])
})

/** As somebody does it who has all rights in the database, and knows how it works. */
async function makeAnew(changedId: string): Promise<void> {
  await asSuperuser(`update audit_records set actor = 'grace' where audit_id = $1`, [changedId])
  const seals = await asSuperuser('select * from audit_seals order by first_sequence')
  let hash: Buffer = firstHash('vault')
  for (const { first_sequence, audit_ids } of seals) {
    const hashes: Buffer[] = []
    for (const id of audit_ids as string[]) {
      const text = `select ${recordColumns('vault')} from audit_records where audit_id = $1`
      const [record] = await asSuperuser(text, [id])
      hash = nextHash(hash, recordText('vault', record as never))
      hashes.push(hash)
    }
    await asSuperuser('update audit_seals set hashes = $2 where first_sequence = $1', [
      first_sequence,
      hashes,
    ])
  }
  await asSuperuser('update audit_chains set hash = $1', [hash])
}

test('SEC-18: a chain that was made anew as a whole is found by the exported checkpoints, and where', async () => {
  const problems = await problemsAfter(() => makeAnew(ids[20]!))
  assert.deepEqual(told(problems), [['checkpoint_differs', 32]])
  assert.match(problems[0]!.detail, /^Records 13 to 32 /)
  const forged = () => {
    const [line] = checkpointsText.split('\n')
    const { checkpoint, signature } = JSON.parse(line!)
    appendFileSync(
      checkpointFile,
      `${JSON.stringify({ checkpoint: checkpoint.replace('12', '13'), signature })}\n`,
    )
  }
  assert.deepEqual(told(await problemsAfter(forged)), [['checkpoint_not_signed', null]])
  const old = `update audit_checkpoints set checkpoint =
    jsonb_set(checkpoint::jsonb, '{at}', '"2026-01-01T00:00:00.000Z"')::text`
  const without = await problemsAfter(() => asSuperuser(old), { checkpoint_file: undefined })
  assert.deepEqual(told(without), [['checkpoints_missing', null]])
  // The next one, in the place of the folder's, was not exported: cut off in the file.
  const cutFile = async () => {
    writeFileSync(checkpointFile, `${checkpointsText.split('\n')[0]}\n`)
    await asSuperuser(old)
  }
  assert.deepEqual(told(await problemsAfter(cutFile)), [['checkpoints_missing', 32]])
})

test('SEC-06: a card that was put back to an older state in SQL is found, though it opens', async () => {
  const { merchant_id, card_id } = cards[0]!.place
  const [newest, older] = await asSuperuser(
    'select card_version_id from card_versions where card_id = $1 order by card_version_id desc',
    [card_id],
  )
  const pointing = () =>
    asSuperuser('update cards set card_version_id = $2 where card_id = $1', [
      card_id,
      older!['card_version_id'],
    ])
  const number = async () => {
    await pointing()
    return vault.cards.reveal(cards[0]!.caller, card_id, 'a try')
  }
  assert.deepEqual(told(await problemsAfter(number)), [['card_differs', card_id]])
  const removed = async () => {
    await pointing()
    await asSuperuser('delete from card_versions where card_version_id = $1', [newest!['card_version_id']])
  }
  assert.deepEqual(told(await problemsAfter(removed)), [['card_differs', card_id]])
  const exchanged = () =>
    asSuperuser(
      `update card_versions set number_encrypted = (
         select number_encrypted from card_versions where card_version_id = $2)
       where merchant_id = $1 and card_version_id = $3`,
      [merchant_id, older!['card_version_id'], newest!['card_version_id']],
    )
  assert.deepEqual(told(await problemsAfter(exchanged)), [['card_differs', card_id]])
})

test('SEC-18: in whatever place and way, a record that is not what was sealed is the first that is named', async () => {
  const ways: Record<string, string> = {
    record_changed: `update audit_records set reason = coalesce(reason, '') || chr(1) where audit_id = $1`,
    record_missing: 'delete from audit_records where audit_id = $1',
  }
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.nat({ max: 31 }), { minLength: 1, maxLength: 3 }),
      fc.constantFrom(...Object.keys(ways)),
      async (places, kind) => {
        const problems = await problemsAfter(async () => {
          for (const place of places) await asSuperuser(ways[kind]!, [ids[place]])
        })
        const named = problems.filter((problem) => problem.kind === kind).map(({ id }) => id)
        assert.deepEqual(
          named,
          places.sort((a, b) => a - b).map((place) => ids[place]),
        )
      },
    ),
    { numRuns: 6 },
  )
})

const environment = {
  VAULT_AUDIT_DATABASE_URL: trail.database_url,
  VAULT_AUDIT_PUBLIC_KEY: publicPem,
  COFFER_AUDIT_FOLDER: folder,
}

test('SEC-18: the command names what is broken and ends with 1', async (t) => {
  let output = ''
  const problems = await problemsAfter(async () => {
    await asSuperuser('delete from audit_records where audit_id = $1', [ids[3]])
    const bad = runCommand(t, ['audit', 'verify', '--json'], environment)
    assert.equal((await bad.exited).code, 1)
    output = bad.output()
  })
  assert.deepEqual(JSON.parse(output)[0].problems, problems)
})

test('SEC-18: an export is checked by the example of docs/audit.md, with the public key and nothing of ours', async (t) => {
  const command = runCommand(t, ['audit', 'export', '--zone', 'vault'], environment)
  assert.equal((await command.exited).code, 0, command.output())
  const exported = command
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .join('\n')
  const here = temporaryFolder(t)
  const example = /```js\n([\s\S]+?)```/.exec(readFileSync('docs/audit.md', 'utf8'))![1]!
  assert.ok(example.split('\n').length <= 32)
  writeFileSync(join(here, 'check.mjs'), example)
  writeFileSync(join(here, 'vault-audit.pub.pem'), publicPem)
  const check = (text: string) => {
    writeFileSync(join(here, 'vault-audit.jsonl'), text)
    const run = [
      process.execPath,
      ['check.mjs', 'vault', 'vault-audit.jsonl', 'vault-audit.pub.pem'],
    ] as const
    return execFileSync(...run, { cwd: here, stdio: ['ignore', 'pipe', 'pipe'] }).toString()
  }
  assert.equal(check(exported), '32 records, all signed\n')
  assert.throws(() => check(exported.replace('a dispute', 'no dispute')), /record 9 is not/)
  assert.throws(() => check(exported.split('\n').toSpliced(4, 1).join('\n')), /record 6 is not/)
  assert.throws(
    () => check(exported.split('\n').slice(0, -1).join('\n')),
    /the last 20 records are not signed/,
  )
  const [first] = checkpointsText.split('\n')
  const from = new Date(Date.parse(JSON.parse(JSON.parse(first!).checkpoint).at) + 1)
  let part = ''
  const into = new Writable({
    write(chunk, _encoding, done) {
      part += chunk
      done()
    },
  })
  assert.equal(
    await exportTrail(audit.postgres.open('coffer_vault_auditor'), 'vault', { from, to: undefined }, into),
    20,
  )
  assert.equal(part.trimEnd().split('\n').length, 22)
  assert.equal(check(part), '20 records, all signed\n')
})

// Last, because it adds to the trail that the tests above put back.
test('SEC-06: a token that was put back to older bytes in SQL is found', async () => {
  const caller = newCaller()
  const create = async (value: string) => {
    const { body } = await vault.tokens.create(
      caller,
      { type: 'text', data: { value } },
      null,
      JSON.stringify,
    )
    return (JSON.parse(body) as { id: string }).id
  }
  const [one, other] = [await create('one'), await create('other')]
  const verified = async () => {
    const database = openTrail(trail)
    const { tokens, problems } = await verifyTokens(database, silent)
    await database.close()
    assert.equal(tokens, 2)
    return told(problems)
  }
  assert.deepEqual(await verified(), [])
  await asSuperuser(
    `update tokens set data_encrypted = (select data_encrypted from tokens where token_id = $1) where token_id = $2`,
    [one, other],
  )
  assert.deepEqual(await verified(), [['token_differs', other]])
})

test('SEC-06: a version whose data key was replaced is held against what was written then, in whatever order', () => {
  const hash = (text: string) => Buffer.from(text)
  const card = {
    merchant_id: 'mer_1',
    card_id: 'card_1',
    card_version_id: 'cver_2',
    version_ids: ['cver_1', 'cver_2'],
    written_hashes: [hash('2'), hash('1')],
    has_creation: true,
  }
  const problemOf = (stored: [string, string], rewritten: [string | null, string | null]) =>
    cardProblem({
      ...card,
      version_hashes: stored.map(hash),
      reencrypted_hashes: rewritten.map((text) => (text === null ? null : hash(text))),
    })
  assert.equal(problemOf(['1', '2'], [null, null]), undefined)
  assert.equal(problemOf(['1 anew', '2'], ['1 anew', null]), undefined)
  assert.equal(problemOf(['1', '2 anew'], [null, '2 anew']), undefined)
  assert.equal(problemOf(['1 anew', '2 anew'], ['1 anew', '2 anew']), undefined)
  // Put back to what they were before.
  assert.match(problemOf(['1 anew', '2'], ['1 anew', '2 anew'])!, /^The encrypted number of cver_2/)
  assert.match(problemOf(['1', '2 anew'], ['1 anew', '2 anew'])!, /^The encrypted number of cver_1/)
})
