import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, test } from 'node:test'
import { CommitUnknown } from '@coffer/core/postgres.ts'
import fc from 'fast-check'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { keepCard, openTestVault, serialize, testCard } from '../test-vault.ts'
import type { Card, CardChange, NewCard } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
// Another process on the same database: it shares nothing with the first but the rows.
const beside = await openTestVault(postgres)
const { cards, changes } = vault

const number = '4242424242424242'
const parsed = (answer: { body: string }) => JSON.parse(answer.body) as Card
const address = { line1: '1 Main St', city: 'Ghent', postal_code: '9000', country: 'BE' }

const kept = (input?: Partial<NewCard>) => keepCard(postgres, vault, input)

test('a changed expiry, name or address makes a new version; the old one stays as it was', async () => {
  const { card, update, rows, read, caller } = await kept({ cardholder_name: 'Ada' })
  const steps: CardChange[] = [
    { exp_month: 1, exp_year: 2031 },
    { cardholder_name: 'Ada Lovelace' },
    { billing_address: address },
    { cardholder_name: null },
    { billing_address: null },
  ]
  const versions = [card.version]
  for (const step of steps) {
    const changed = parsed(await update(step))
    assert.deepEqual(changed, await read())
    assert.deepEqual([changed.id, changed.status, changed.fingerprint], [card.id, 'active', card.fingerprint])
    versions.push(changed.version)
  }
  assert.equal(new Set(versions).size, 6)
  const stored = await rows('card_versions')
  assert.equal(stored.length, 6)
  const first = stored.find((row) => row['card_version_id'] === card.version)!
  assert.deepEqual([first['exp_month'], first['exp_year'], first['cardholder_name']], [12, 2030, 'Ada'])
  assert.deepEqual(new Set(stored.map((row) => row['reason'])), new Set(['created', 'updated']))
  const addressed = stored.find((row) => row['card_version_id'] === versions[3])!
  assert.deepEqual(addressed['billing_address'], {
    line1: '1 Main St',
    line2: null,
    city: 'Ghent',
    state: null,
    postal_code: '9000',
    country: 'BE',
  })
  // Each version is sealed at its own place, and all hold the same number.
  assert.equal(new Set(stored.map((row) => (row['number_encrypted'] as Buffer).toString('hex'))).size, 6)
  assert.equal((await cards.reveal(caller, card.id, 'a reason')).number, number)
})

test('customer and metadata belong to the card: changing them makes no version, and what is left out stays', async () => {
  const { card, update, rows, read } = await kept({ customer: 'cus_1', metadata: { a: '1', b: '2' } })
  assert.deepEqual(parsed(await update({ metadata: { b: null, c: '3' } })).metadata, { a: '1', c: '3' })
  assert.equal((await read()).customer, 'cus_1')
  assert.deepEqual(parsed(await update({ metadata: null })).metadata, {})
  assert.equal(parsed(await update({ customer: 'cus_2' })).customer, 'cus_2')
  assert.equal(parsed(await update({ customer: null })).customer, null)
  assert.equal(parsed(await update({ exp_month: 12, exp_year: 2030 })).version, card.version)
  assert.equal((await rows('card_versions')).length, 1)
})

test('an address that is none is null, and one that is given is shown with every field', async () => {
  const { card, update } = await kept({ billing_address: { line1: null } })
  assert.equal(card.billing_address, null)
  assert.equal(parsed(await update({ billing_address: {} })).billing_address, null)
  const changed = parsed(await update({ billing_address: { country: 'BE' } }))
  assert.deepEqual(Object.values(changed.billing_address!), [null, null, null, null, null, 'BE'])
  // It is replaced as a whole: half an old address with half a new one is nobody's.
  const moved = parsed(await update({ billing_address: { city: 'Paris', state: null } }))
  assert.deepEqual(Object.values(moved.billing_address!), [null, null, 'Paris', null, null, null])
})

test('a change is written whole: audit record with the hash of the new bytes, event, idempotency record', async () => {
  const { card, update, rows } = await kept()
  const answer = await update({ exp_month: 5, exp_year: 2033 }, 'k')
  const audit = (await rows('audit_records')).find((row) => row['action'] === 'card.update')!
  const version = (await rows('card_versions')).find((row) => row['reason'] === 'updated')!
  const sealed = version['number_encrypted'] as Buffer
  assert.deepEqual(audit['ciphertext_hash'], createHash('sha256').update(sealed).digest())
  assert.deepEqual([audit['actor'], audit['object_id'], audit['result']], ['ada', card.id, 'done'])
  assert.equal(audit['reason'], 'exp_month exp_year')
  const event = (await rows('outbox')).find((row) => row['type'] === 'card.updated')!
  assert.deepEqual([event['object_id'], event['data']], [card.id, parsed(answer)])
  const [record] = await rows('idempotency_records')
  assert.deepEqual([record!['operation'], record!['response_body']], ['cards.update', answer.body])
})

test('what cannot be is refused and leaves nothing behind', async () => {
  const { update, actions, rows } = await kept({
    metadata: Object.fromEntries(Array.from({ length: 25 }, (_, index) => [`n${index}`, 'v'])),
  })
  const refused: [CardChange, object][] = [
    [
      { exp_month: 1, exp_year: 2020 },
      { code: 'card_expired', param: 'exp_year' },
    ],
    [{ exp_month: 1 }, { code: 'invalid_request', param: 'exp_year' }],
    [{ exp_year: 2031 }, { code: 'invalid_request', param: 'exp_month' }],
    [{ metadata: { another: 'v' } }, { code: 'invalid_request', param: 'metadata' }],
    [{ billing_address: { country: 'XX' } }, { code: 'invalid_request', param: 'billing_address.country' }],
    [{ customer: number }, { code: 'card_number_in_wrong_field', param: 'customer' }],
    [{ cardholder_name: number }, { code: 'card_number_in_wrong_field', param: 'cardholder_name' }],
    [{ metadata: { [number]: 'v' } }, { code: 'card_number_in_wrong_field', param: 'metadata' }],
    [
      { billing_address: { line2: number } },
      { code: 'card_number_in_wrong_field', param: 'billing_address.line2' },
    ],
  ]
  for (const [change, problem] of refused)
    await assert.rejects(update(change, 'k'), problem, JSON.stringify(change))
  assert.deepEqual(await actions(), ['card.create'])
  assert.deepEqual(await rows('idempotency_records'), [])
  // In the place of one that is taken out there is room for another.
  assert.equal(
    Object.keys(parsed(await update({ metadata: { n0: null, another: 'v' } })).metadata).length,
    25,
  )
})

const text = fc.constantFrom('a', 'b', 'c')
const anyChange: fc.Arbitrary<CardChange> = fc
  .record(
    {
      expiry: fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 2031, max: 2033 })),
      cardholder_name: fc.option(text),
      billing_address: fc.option(fc.record({ city: fc.option(text), line2: text }, { requiredKeys: [] })),
      customer: fc.option(text),
      metadata: fc.option(fc.dictionary(text, fc.option(text))),
    },
    { requiredKeys: [] },
  )
  .map(({ expiry, ...rest }) =>
    expiry === undefined ? rest : { ...rest, exp_month: expiry[0], exp_year: expiry[1] },
  )

test('any sequence of changes leaves what a plain model says, and a version for each that needs one', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyChange, { maxLength: 6 }), fc.boolean(), async (sequence, atOnce) => {
      const { card, update, read, rows } = await kept()
      const model = { ...card, versions: 1 }
      for (const change of sequence) {
        const before = JSON.stringify([
          model.exp_month,
          model.exp_year,
          model.cardholder_name,
          model.billing_address,
        ])
        model.exp_month = change.exp_month ?? model.exp_month
        model.exp_year = change.exp_year ?? model.exp_year
        if (change.cardholder_name !== undefined) model.cardholder_name = change.cardholder_name
        if (change.customer !== undefined) model.customer = change.customer
        if (change.metadata === null) model.metadata = {}
        for (const [name, value] of Object.entries(change.metadata ?? {})) {
          model.metadata = { ...model.metadata }
          if (value === null) delete model.metadata[name]
          else model.metadata[name] = value
        }
        if (change.billing_address !== undefined) {
          const { city = null, line2 = null } = change.billing_address ?? {}
          const none = { line1: null, state: null, postal_code: null, country: null }
          model.billing_address = city === null && line2 === null ? null : { ...none, city, line2 }
        }
        const after = JSON.stringify([
          model.exp_month,
          model.exp_year,
          model.cardholder_name,
          model.billing_address,
        ])
        if (before !== after) model.versions++
      }
      if (atOnce) await Promise.all(sequence.map((change) => update(change)))
      else for (const change of sequence) await update(change)
      const { versions, version: _version, updated_at: _updated_at, ...expected } = model
      const { version: _new_version, updated_at: _later, ...found } = await read()
      assert.deepEqual(found, expected)
      assert.equal((await rows('card_versions')).length, versions)
      assert.equal((await rows('outbox')).length, 1 + sequence.length)
    }),
    { numRuns: 40 },
  )
})

test('changes at the same time all count, in one process and in two', async () => {
  const { update, read, actions, rows } = await kept()
  const both = Array.from({ length: 60 }, (_, index) => {
    const through = index % 2 === 0 ? changes : beside.changes
    return update(
      index < 24 ? { metadata: { [`n${index}`]: 'v' } } : { exp_month: 1 + (index % 12), exp_year: 2040 },
      null,
      through,
    )
  })
  const answers = (await Promise.all(both)).map(parsed)
  const card = await read()
  assert.equal(Object.keys(card.metadata).length, 24)
  assert.equal(card.exp_year, 2040)
  // No two of them ended in the same state: each built on the one before.
  assert.equal(new Set(answers.map((answer) => answer.updated_at)).size, 60)
  assert.equal((await actions()).filter((action) => action === 'card.update').length, 60)
  assert.equal((await rows('outbox')).filter((row) => row['type'] === 'card.updated').length, 60)
})

test('F-22: a hundred changes with one key are one, and get one answer, also through two processes', async () => {
  const { update, rows } = await kept()
  const change = { exp_month: 7, exp_year: 2035, metadata: { a: '1' } }
  const all = await Promise.all(
    Array.from({ length: 100 }, (_, index) =>
      update(change, 'same', index % 2 === 0 ? changes : beside.changes),
    ),
  )
  assert.equal(new Set(all.map((answer) => `${answer.status} ${answer.body}`)).size, 1)
  assert.equal((await rows('card_versions')).length, 2)
  assert.equal((await rows('outbox')).length, 2)
  assert.equal((await update(change, 'same')).body, all[0]!.body)
  await assert.rejects(update({ ...change, exp_month: 8 }, 'same'), { code: 'idempotency_key_reused' })
})

test('a change whose commit was never confirmed is told as such, and its key finds out', async () => {
  const { update, rows } = await kept()
  let lost = 0
  const losing = await openTestVault(postgres, (database) => ({
    ...database,
    async commitAll(merchants, statements) {
      const found = await database.commitAll<never>(merchants, statements)
      if (lost++ === 0) throw new CommitUnknown(new Error('the connection is gone'))
      return found
    },
  }))
  const change = { exp_month: 9, exp_year: 2036 }
  await assert.rejects(update(change, 'k', losing.changes), { code: 'outcome_unknown' })
  const answer = await update(change, 'k', losing.changes)
  assert.equal(parsed(answer).exp_year, 2036)
  assert.equal((await rows('card_versions')).length, 2)
  assert.equal((await rows('outbox')).length, 2)
})

test('a change that the database refuses fails alone: its neighbours in the batch are written', async () => {
  const [good, bad, other] = [await kept(), await kept(), await kept()]
  const check = `check (metadata::text <> '{"refused":"${bad.card.id}"}')`
  await postgres.query('coffer_vault_migrator', `alter table cards add constraint refused ${check}`)
  try {
    const settled = await Promise.allSettled([
      good.update({ customer: 'cus_1' }),
      bad.update({ metadata: { refused: bad.card.id }, exp_month: 1, exp_year: 2031 }, 'k'),
      other.update({ customer: 'cus_2' }),
    ])
    assert.deepEqual(
      settled.map((one) => one.status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
  } finally {
    await postgres.query('coffer_vault_migrator', 'alter table cards drop constraint refused')
  }
  assert.deepEqual(await bad.read(), bad.card)
  assert.deepEqual(await bad.actions(), ['card.create'])
  assert.equal((await bad.rows('card_versions')).length, 1)
  assert.deepEqual([(await good.read()).customer, (await other.read()).customer], ['cus_1', 'cus_2'])
})

test('a key is for one card: with another card it is refused, whoever is first, and that card stays as it is', async () => {
  const { caller, update } = await kept()
  const other = parsed(await cards.create(caller, testCard(), null, serialize))
  const change = { customer: 'cus_9' }
  const settled = await Promise.allSettled([
    update(change, 'k'),
    beside.changes.update(caller, other.id, change, 'k', serialize),
  ])
  assert.deepEqual(settled.map((one) => one.status).sort(), ['fulfilled', 'rejected'])
  const changed = (await cards.list(caller.merchant_id, {}, { cursor: undefined, limit: 10 })).data
  assert.equal(changed.filter((card) => card.customer === 'cus_9').length, 1)
})

test('SEC-02: a CVC that is collected again serves one attempt and is written nowhere; a repeated key brings none', async () => {
  const { caller, card, place, rows } = await kept()
  const collect = (cvc: string, key: string | null = null) => changes.collectCvc(caller, card.id, cvc, key)
  const first = await collect('918', 'k')
  assert.deepEqual(JSON.parse(first.body), {
    object: 'collected_cvc',
    card: card.id,
    expires_at: '2026-11-22T12:15:00.123Z',
  })
  assert.equal(vault.cvcLeases.take(place, 'att_1'), '918')
  vault.cvcLeases.forget(place, 'att_1')
  const repeats = await Promise.all(Array.from({ length: 100 }, () => collect('919', 'k')))
  assert.deepEqual(new Set(repeats.map((one) => one.body)), new Set([first.body]))
  assert.equal(vault.cvcLeases.take(place, 'att_2'), undefined)
  await assert.rejects(collect('9173'), { code: 'cvc_invalid', param: 'cvc' })
  const amex = parsed(await cards.create(caller, testCard({ number: '378282246310005' }), null, serialize))
  await assert.rejects(changes.collectCvc(caller, amex.id, '917', null), { code: 'cvc_invalid' })
  await changes.collectCvc(caller, amex.id, '9173', null)
  assert.equal((await rows('audit_records')).filter((row) => row['action'] === 'card.collect_cvc').length, 2)
  for (const table of ['audit_records', 'outbox', 'idempotency_records'])
    for (const { transaction_id: _id, position: _position, ...row } of await rows(table))
      assert.doesNotMatch(JSON.stringify(row), /"(91[789]|9173)\\?"/)
})
