import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { eventually } from '../../test/support/product.ts'
import { followKeyNotices } from '../keys/key-notices.ts'
import { createLocalKeys } from '../keys/local-keys.ts'
import { startRotating } from '../keys/rotating.ts'
import { createRotations } from '../keys/rotations.ts'
import { newCaller, openTestVault, rootKeysOf, rowsOf } from '../test-vault.ts'
import { eraseDeletedTokens } from './erasing.ts'
import type { NewToken, Token } from './schemas.ts'
import type { SerializeToken } from './tokens.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
// Another process on the same database: it shares nothing with the first but the rows.
const beside = await openTestVault(postgres)
const { tokens } = vault

const iban = 'DE89370400440532013000'
const account = (changes: Partial<NewToken> = {}): NewToken => ({
  type: 'bank_account',
  data: { iban, holder_name: 'Zoë 日本' },
  ...changes,
})
const text = (value: string): NewToken => ({ type: 'text', data: { value } })
const serialize: SerializeToken = (token) => JSON.stringify(token)

async function kept(input: NewToken, caller = newCaller()) {
  const token = JSON.parse((await tokens.create(caller, input, null, serialize)).body) as Token
  return { caller, token, rows: (table: string) => rowsOf(postgres, table, caller.merchant_id) }
}

test('a bank account is shown by its country and last digits only, and revealed whole, its record first', async () => {
  const { caller, token, rows } = await kept(account({ customer: 'cus_1', metadata: { a: '1' } }))
  assert.deepEqual(token.bank_account, { country: 'DE', last4: '3000', account_type: null })
  assert.deepEqual(await tokens.get(caller.merchant_id, token.id), token)
  assert.deepEqual((await tokens.reveal(caller, token.id, 'asked by the holder')).data, {
    iban,
    holder_name: 'Zoë 日本',
  })
  const [event] = await rows('outbox')
  assert.deepEqual([event!['type'], event!['data']], ['token.created', token])
  const records = (await rows('audit_records')).map(({ action, object_id, reason, actor }) => ({
    action,
    object_id,
    reason,
    actor,
  }))
  const common = { object_id: token.id, actor: 'ada' }
  assert.deepEqual(
    records.sort((left, right) => String(left.action).localeCompare(String(right.action))),
    [
      { action: 'token.create', reason: null, ...common },
      { action: 'token.reveal', reason: 'asked by the holder', ...common },
    ],
  )
  const hashes = (await rows('audit_records')).map((record) =>
    (record['ciphertext_hash'] as Buffer).toString('hex'),
  )
  assert.equal(new Set(hashes).size, 1)
})

test('SEC-01, SEC-03: nothing of the data is in any table in the clear, nor a hash of it without a key', async () => {
  const caller = newCaller()
  for (const key of ['k', 'k', 'l']) await tokens.create(caller, account(), key, serialize)
  const tables = ['tokens', 'instruments', 'audit_records', 'outbox', 'idempotency_records']
  const bytes = await Promise.all(
    tables.map(async (table) => {
      const rows = await rowsOf(postgres, table, caller.merchant_id)
      assert.ok(rows.length > 0, table)
      return rows.flatMap((row) =>
        Object.values(row).map((value) =>
          Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value) ?? ''),
        ),
      )
    }),
  )
  const stored = Buffer.concat(bytes.flat())
  const hashes = [iban, `iban:${iban}`].map((each) => createHash('sha256').update(each).digest())
  for (const secret of [iban, '37040044', '0532013', 'Zoë 日本', ...hashes])
    assert.ok(!stored.includes(secret), String(secret))
})

test('any text of 4,096 characters comes out as it went in', async () => {
  for (const value of ['x', 'é\n"\\\u0001'.repeat(800), '😀'.repeat(4_096), '\u0001'.repeat(4_096)]) {
    const { caller, token } = await kept(text(value))
    assert.deepEqual([token.bank_account, token.fingerprint], [null, null])
    assert.deepEqual((await tokens.reveal(caller, token.id, 'a reason')).data, { value })
    assert.deepEqual(await tokens.open(caller.merchant_id, token.id), { value })
  }
})

test('an account opens into the values that a request is filled with', async () => {
  const { caller, token } = await kept({
    type: 'bank_account',
    data: { routing_number: '011000015', account_number: '123456', account_type: 'savings' },
  })
  assert.deepEqual(token.bank_account, { country: 'US', last4: '456', account_type: 'savings' })
  assert.deepEqual(await tokens.open(caller.merchant_id, token.id), {
    routing_number: '011000015',
    account_number: '123456',
    account_type: 'savings',
    country: 'US',
  })
})

test('one account of a merchant has one fingerprint, of sixty-four added at once by two processes', async () => {
  const caller = newCaller()
  const answers = await Promise.all(
    Array.from({ length: 64 }, (_, index) => {
      const through = index % 2 === 0 ? tokens : beside.tokens
      const written = index % 3 === 0 ? 'de89 3704 0044 0532 0130 00' : iban
      return through.create(caller, account({ data: { iban: written } }), null, serialize)
    }),
  )
  const made = answers.map(({ body }) => JSON.parse(body) as Token)
  assert.equal(new Set(made.map(({ id }) => id)).size, 64)
  assert.equal(new Set(made.map(({ fingerprint }) => fingerprint)).size, 1)
  for (const { id, fingerprint } of made)
    assert.equal((await tokens.get(caller.merchant_id, id)).fingerprint, fingerprint)
  const { token: another } = await kept(account({ data: { iban: 'NL91ABNA0417164300' } }), caller)
  const { token: foreign } = await kept(account())
  assert.equal(new Set([made[0]!, another, foreign].map(({ fingerprint }) => fingerprint)).size, 3)
})

test('the same key gives the first answer again, of sixty-four at once, and refuses another body', async () => {
  const caller = newCaller()
  const answers = await Promise.all(
    Array.from({ length: 64 }, (_, index) =>
      (index % 2 === 0 ? tokens : beside.tokens).create(caller, account(), 'k', serialize),
    ),
  )
  assert.equal(new Set(answers.map(({ status, body }) => `${status} ${body}`)).size, 1)
  const rows = (table: string) => rowsOf(postgres, table, caller.merchant_id)
  for (const table of ['tokens', 'outbox', 'audit_records', 'idempotency_records'])
    assert.equal((await rows(table)).length, 1, table)
  const [record] = await rows('idempotency_records')
  assert.deepEqual([record!['response_status'], record!['response_body']], [201, answers[0]!.body])
  const fingerprint = (JSON.parse(answers[0]!.body) as Token).fingerprint
  assert.equal((await rows('tokens'))[0]!['fingerprint'], fingerprint)
  assert.deepEqual((await rows('outbox'))[0]!['data'], JSON.parse(answers[0]!.body))
  await assert.rejects(tokens.create(caller, text('x'), 'k', serialize), { code: 'idempotency_key_reused' })
})

test("SEC-13: another merchant's token is found by nobody else, and looks like none", async () => {
  const { caller, token } = await kept(account())
  const stranger = newCaller()
  const gone = { code: 'not_found', param: undefined }
  for (const id of [token.id, newId('token'), newId('card'), '']) {
    await assert.rejects(tokens.get(stranger.merchant_id, id), gone)
    await assert.rejects(tokens.reveal(stranger, id, 'a reason'), gone)
    await assert.rejects(tokens.open(stranger.merchant_id, id), gone)
    await assert.rejects(tokens.remove(stranger, id), gone)
  }
  assert.deepEqual(await rowsOf(postgres, 'audit_records', stranger.merchant_id), [])
  assert.deepEqual(await tokens.get(caller.merchant_id, token.id), token)
})

test('SEC-18: where its audit record cannot be written, nothing is revealed', async () => {
  const { caller, token } = await kept(account())
  const broken = await openTestVault(postgres, (database) => ({
    ...database,
    commit: (merchants, statement) =>
      database.commit(
        merchants,
        statement.name === 'insert_reveal_records'
          ? { ...statement, name: 'broken', text: 'select 1/0' }
          : statement,
      ),
  }))
  await assert.rejects(broken.tokens.reveal(caller, token.id, 'a reason'))
})

test('a list gives each token once, newest first, all or those of a customer', async () => {
  const caller = newCaller()
  const made: Token[] = []
  for (let index = 0; index < 9; index++)
    made.push((await kept({ ...text('x'), customer: index % 2 === 0 ? 'a' : 'b' }, caller)).token)
  made.sort((left, right) => (left.id < right.id ? 1 : -1))
  for (const filter of [{}, { customer: 'a' }, { customer: 'nobody' }] as { customer?: string }[]) {
    const seen: Token[] = []
    for (let cursor: string | undefined; ; ) {
      const page = await tokens.list(caller.merchant_id, filter, { cursor, limit: 2 })
      seen.push(...page.data)
      if (page.next_cursor === null) break
      cursor = page.next_cursor
      await assert.rejects(
        async () => tokens.list(caller.merchant_id, { customer: 'c' }, { cursor, limit: 2 }),
        { code: 'invalid_request', param: 'cursor' },
      )
    }
    const wanted = made.filter(
      ({ customer }) => filter.customer === undefined || customer === filter.customer,
    )
    assert.deepEqual(seen, wanted)
  }
})

test('SEC-09: data and fingerprints of tokens outlast a rotation of their keys', async () => {
  const relayDatabase = postgres.open('coffer_vault_relay')
  const { database, keyring } = vault
  const wrappingKeys = createLocalKeys(rootKeysOf(postgres).wrapping)
  const deps = { database, relayDatabase, keyring, wrappingKeys, log: quietLog }
  const notices = await followKeyNotices({ ...deps, wrappingKeyId: () => wrappingKeys.currentId() })
  const rotating = startRotating({ ...deps, holder: notices.holder, rows_per_second: 100_000 })
  const rotations = createRotations({ database, keyring, clock: { now: () => new Date() } })
  const { caller, token, rows } = await kept(account())
  const secret = await kept(text('a text'), caller)
  const [before] = await rows('tokens')
  const { version } = keyring.fingerprints.current
  const rotate = async (kind: 'data' | 'fingerprint') => {
    const { body } = await rotations.start(caller, true, kind, null, JSON.stringify)
    const { id } = JSON.parse(body) as { id: string }
    const ended = await eventually(async () => {
      const rotation = await rotations.get(caller.merchant_id, true, id)
      return rotation.state !== 'running' && rotation
    })
    assert.deepEqual([ended.state, ended.errors], ['finished', 0])
  }
  await Promise.all([rotate('data'), rotate('fingerprint')])
  await rotating.stop()
  await notices.stop()
  const stored = await rows('tokens')
  assert.ok(stored.every((row) => row['data_key_id'] !== before!['data_key_id']))
  const [instrument, ...more] = await rows('instruments')
  assert.deepEqual(more, [])
  assert.equal(instrument!['fingerprint_key_version'], version + 1)
  for (const through of [tokens, beside.tokens]) {
    assert.equal((await through.reveal(caller, token.id, 'a reason')).data.iban, iban)
    assert.equal((await through.reveal(caller, secret.token.id, 'a reason')).data.value, 'a text')
    const again = JSON.parse((await through.create(caller, account(), null, serialize)).body) as Token
    assert.equal(again.fingerprint, token.fingerprint)
  }
})

test('SEC-35: a deleted token is found nowhere at once, and its data are erased once nothing can need them', async () => {
  const relay = postgres.open('coffer_vault_relay')
  const old = await kept(account({ customer: 'cus_1', metadata: { a: '1' } }))
  const young = await kept(account())
  const live = await kept(account())
  for (const { caller, token } of [old, young]) {
    const removals = await Promise.allSettled(
      [tokens, beside.tokens, tokens].map((through) => through.remove(caller, token.id)),
    )
    assert.equal(removals.filter(({ status }) => status === 'fulfilled').length, 1)
    await assert.rejects(tokens.get(caller.merchant_id, token.id), { code: 'not_found' })
    await assert.rejects(tokens.open(caller.merchant_id, token.id), { code: 'not_found' })
    const listed = await tokens.list(caller.merchant_id, {}, { cursor: undefined, limit: 10 })
    assert.deepEqual(listed.data, [])
  }
  const age = (id: string, hours: number) =>
    postgres.query(
      'coffer_vault_migrator',
      `update tokens set deleted_at = now() - $2 * interval '1 h' where token_id = $1`,
      [id, hours],
    )
  await age(old.token.id, 27)
  await age(young.token.id, 25)
  assert.equal(await eraseDeletedTokens(relay), 1)
  assert.equal(await eraseDeletedTokens(relay), 0)
  const [row] = await old.rows('tokens')
  const { data_encrypted, bank_account, customer, metadata } = row!
  assert.deepEqual([data_encrypted, bank_account, customer, metadata], [null, null, null, {}])
  const actions = (await old.rows('audit_records')).map(({ action }) => action)
  assert.deepEqual(actions.sort(), ['token.create', 'token.delete', 'token.erase'])
  const event = (await old.rows('outbox')).find(({ type }) => type === 'token.deleted')!
  const { id, fingerprint } = old.token
  assert.deepEqual(event['data'], { id, object: 'token', type: 'bank_account', fingerprint })
  for (const { rows } of [young, live]) assert.notEqual((await rows('tokens'))[0]!['data_encrypted'], null)
  await assert.rejects(postgres.query('coffer_vault_relay', 'select data_encrypted from tokens'), {
    code: '42501',
  })
  await assert.rejects(
    postgres.query('coffer_vault_relay', `update tokens set data_encrypted = sha512('x')`),
    { code: '42501' },
  )
})

// Last, because what it does not put back stands in the way of a rotation.

test('SEC-06: the data of a token open in no other row', async () => {
  const one = await kept(account())
  const other = await kept(text('a text'), one.caller)
  const foreign = await kept(text('theirs'))
  const put = (from: string, to: string) =>
    postgres.query(
      'coffer_vault_migrator',
      `update tokens set data_encrypted = (select data_encrypted from tokens where token_id = $1),
         data_key_id = (select data_key_id from tokens where token_id = $1) where token_id = $2`,
      [from, to],
    )
  for (const source of [one, foreign]) {
    await put(source.token.id, other.token.id)
    await assert.rejects(tokens.reveal(other.caller, other.token.id, 'a reason'))
    await assert.rejects(tokens.open(other.caller.merchant_id, other.token.id))
  }
})
