/** The chain of a card's versions: what changes it, what it was at each moment, and that nothing in it is edited. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import fc from 'fast-check'
import { goodNumbers } from '../../test/support/card-numbers.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { keepCard, newCaller, openTestVault, rowsOf, serialize, testCard } from '../test-vault.ts'
import { eraseDeletedCards, eraseSupersededNumbers } from './erasing.ts'
import type { Card, CardReplacement, CardVersion, NewCard } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
// Another process on the same database: it shares nothing with the first but the rows.
const beside = await openTestVault(postgres)

const parsed = (answer: { body: string }) => JSON.parse(answer.body) as Card
const numbers = [goodNumbers.visa, goodNumbers.mastercard, goodNumbers.amex]

async function kept(input?: Partial<NewCard>) {
  const one = await keepCard(postgres, vault, input)
  const { caller, card } = one
  const page = { cursor: undefined, limit: 1_000 }
  return {
    ...one,
    replace: (
      number: string,
      more: Partial<CardReplacement> = {},
      key: string | null = null,
      through = vault,
    ) => {
      const replacement = { number, exp_month: 6, exp_year: 2032, ...more }
      return through.changes.replace(caller, card.id, replacement, key, serialize)
    },
    restore: (version: string, key: string | null = null, through = vault) =>
      through.changes.restore(caller, card.id, { version }, key, serialize),
    /** Oldest first. */
    versions: async () => (await vault.versions.list(caller.merchant_id, card.id, page)).data.toReversed(),
    asOf: (ms: number) => vault.versions.asOf(caller.merchant_id, card.id, new Date(ms)),
    number: async () => (await vault.cards.reveal(caller, card.id, 'a reason')).number,
  }
}

/** What stands in a version, of a card or of a version. */
const contentOf = (of: Card | CardVersion) => {
  const { status, brand, bin, last4, exp_month, exp_year, fingerprint, cardholder_name, billing_address } = of
  return { status, brand, bin, last4, exp_month, exp_year, fingerprint, cardholder_name, billing_address }
}

test('another number is a new version of the same card, told whole: chain, event, audit record, and what it was', async () => {
  const { caller, card, replace, versions, number, rows } = await kept({ cvc: '737', customer: 'cus_1' })
  const origin = { source: 'account_updater', raw_code: 'UPD_PAN', note: 'issued anew' } as const
  const answer = await replace(goodNumbers.amex, { cvc: '7373', ...origin }, 'k')
  const replaced = parsed(answer)
  assert.equal(await number(), goodNumbers.amex)
  assert.deepEqual(
    [replaced.id, replaced.brand, replaced.last4, replaced.customer],
    [card.id, 'amex', goodNumbers.amex.slice(-4), 'cus_1'],
  )
  assert.notEqual(replaced.fingerprint, card.fingerprint)
  assert.equal(replaced.last_replaced_at, replaced.updated_at)
  // The number's own fingerprint: a card kept with it gets the same one.
  const other = parsed(
    await vault.cards.create(caller, testCard({ number: goodNumbers.amex }), null, serialize),
  )
  assert.equal(other.fingerprint, replaced.fingerprint)
  const [first, second] = await versions()
  assert.deepEqual(contentOf(first!), contentOf(card))
  assert.deepEqual(contentOf(second!), contentOf(replaced))
  assert.deepEqual([first!.reason, first!.source, first!.actor], ['created', 'api', 'ada'])
  assert.deepEqual(
    { reason: second!.reason, source: second!.source, raw_code: second!.raw_code, note: second!.note },
    { reason: 'replaced', ...origin },
  )
  assert.deepEqual([second!.actor, second!.created_at], ['ada', replaced.updated_at])
  const event = (await rows('outbox')).find((row) => row['type'] === 'card.updated')!
  assert.deepEqual(event['data'], replaced)
  const audit = (await rows('audit_records')).find((row) => row['action'] === 'card.replace')!
  const stored = (await rows('card_versions')).find((row) => row['card_version_id'] === second!.id)!
  const hash = createHash('sha256').update(stored['number_encrypted'] as Buffer)
  assert.deepEqual(audit['ciphertext_hash'], hash.digest())
  assert.equal(audit['reason'], 'exp_month exp_year status: issued anew')
  // The old number's CVC is gone, the new one's serves the next attempt; a repeated key brings neither back.
  assert.equal(vault.cvcLeases.take({ merchant_id: caller.merchant_id, card_id: card.id }, 'att_1'), '7373')
  assert.deepEqual(await replace(goodNumbers.amex, { cvc: '7373', ...origin }, 'k'), answer)
  assert.equal((await versions()).length, 2)
  await assert.rejects(replace(goodNumbers.visa, origin, 'k'), { code: 'idempotency_key_reused' })
  for (const table of ['audit_records', 'outbox', 'idempotency_records'])
    assert.doesNotMatch(JSON.stringify(await rows(table)), new RegExp(goodNumbers.amex))
})

test('a wrong change is undone by a new version; customer and metadata stay as they are', async () => {
  const { card, update, replace, restore, versions, number, rows } = await kept({ cardholder_name: 'Ada' })
  await update({ status: 'closed', note: 'reported stolen', metadata: { a: '1' } })
  await replace(goodNumbers.mastercard)
  const back = parsed(await restore(card.version, 'k'))
  assert.deepEqual(contentOf(back), contentOf(card))
  assert.deepEqual(back.metadata, { a: '1' })
  assert.equal(await number(), goodNumbers.visa)
  const chain = await versions()
  assert.deepEqual(
    chain.map(({ reason, restored_version, note }) => [reason, restored_version, note]),
    [
      ['created', null, null],
      ['status_changed', null, 'reported stolen'],
      ['replaced', null, null],
      ['restored', card.version, null],
    ],
  )
  assert.notEqual(back.version, card.version)
  // To be what it is already makes no version; neither does the same key again.
  assert.equal(parsed(await restore(back.version)).version, back.version)
  assert.deepEqual(parsed(await restore(card.version, 'k')), back)
  assert.equal((await versions()).length, 4)
  // A closed card is open again when the version before its closing is gone back to.
  await update({ status: 'closed' })
  assert.equal(parsed(await restore(back.version)).status, 'active')
  const audits = (await rows('audit_records')).filter((row) => row['action'] === 'card.restore')
  assert.deepEqual(
    audits.map((row) => row['reason']).sort(),
    [card.version, back.version, back.version].sort(),
  )
})

test('what cannot be gone back to is refused and leaves nothing behind', async () => {
  const { card, restore, actions, versions } = await kept()
  const other = await kept()
  for (const version of [other.card.version, newId('cardVersion'), 'cver_', 'x'])
    await assert.rejects(restore(version, 'k'), { code: 'card_version_not_found', param: 'version' })
  assert.deepEqual(await actions(), ['card.create'])
  assert.equal((await versions()).length, 1)
  const stranger = newCaller()
  const { merchant_id } = stranger
  const replacement = { number: goodNumbers.amex, exp_month: 1, exp_year: 2031 }
  for (const id of [card.id, newId('card'), 'x']) {
    const attempts = [
      () => vault.changes.restore(stranger, id, { version: card.version }, 'k', serialize),
      () => vault.changes.replace(stranger, id, replacement, 'k', serialize),
      () => vault.versions.list(merchant_id, id, { cursor: undefined, limit: 10 }),
      () => vault.versions.asOf(merchant_id, id, new Date()),
    ]
    for (const attempt of attempts) await assert.rejects(attempt(), { code: 'not_found', param: undefined })
  }
  for (const table of [
    'audit_records',
    'outbox',
    'idempotency_records',
    'instruments',
    'superseded_versions',
  ])
    assert.deepEqual(await rowsOf(postgres, table, merchant_id), [])
})

test('a chain is read page by page, newest first', async () => {
  const { caller, card, update } = await kept()
  for (const exp_year of [2031, 2032, 2033, 2034]) await update({ exp_month: 1, exp_year })
  const found: number[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await vault.versions.list(caller.merchant_id, card.id, { cursor, limit: 2 })
    found.push(...page.data.map((version) => version.exp_year))
    if (page.next_cursor === null) break
    cursor = page.next_cursor
  }
  assert.deepEqual(found, [2034, 2033, 2032, 2031, 2030])
})

type Step =
  | { do: 'expire'; exp_year: number }
  | { do: 'status'; status: Card['status'] }
  | { do: 'replace'; number: string }
  | { do: 'restore'; version: number }
  | { do: 'metadata' }

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('expire' as const), exp_year: fc.integer({ min: 2030, max: 2033 }) }),
  fc.record({
    do: fc.constant('status' as const),
    status: fc.constantFrom('active' as const, 'closed' as const, 'contact_cardholder' as const),
  }),
  fc.record({ do: fc.constant('replace' as const), number: fc.constantFrom(...numbers) }),
  fc.record({ do: fc.constant('restore' as const), version: fc.nat({ max: 8 }) }),
  fc.record({ do: fc.constant('metadata' as const) }),
)

test('any sequence of changes and undos leaves the chain that a plain model says, and each moment its version', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { maxLength: 8 }), async (steps) => {
      const { card, update, replace, restore, versions, asOf, read, number, rows } = await kept()
      type Then = { number: string; exp_month: number; exp_year: number; status: Card['status'] }
      const chain: Then[] = [{ number: goodNumbers.visa, exp_month: 12, exp_year: 2030, status: 'active' }]
      const ids = [card.version]
      for (const step of steps) {
        const last = chain.at(-1)!
        let next: Then = last
        let answer: Card
        if (step.do === 'restore') {
          const place = step.version % chain.length
          answer = parsed(await restore(ids[place]!))
          if (place !== chain.length - 1) chain.push(chain[place]!)
        } else {
          if (step.do === 'expire') next = { ...last, exp_month: 1, exp_year: step.exp_year }
          if (step.do === 'status') next = { ...last, status: step.status }
          if (step.do === 'replace')
            next = { number: step.number, exp_month: 6, exp_year: 2032, status: 'active' }
          answer =
            step.do === 'replace'
              ? parsed(await replace(step.number))
              : parsed(
                  await update(
                    step.do === 'expire'
                      ? { exp_month: 1, exp_year: step.exp_year }
                      : step.do === 'status'
                        ? { status: step.status }
                        : { metadata: { a: '1' } },
                  ),
                )
          if (JSON.stringify(next) !== JSON.stringify(last)) chain.push(next)
        }
        assert.equal(answer.id, card.id)
        if (chain.length > ids.length) ids.push(answer.version)
        assert.equal(answer.version, ids.at(-1))
      }
      const found = await versions()
      const shown = ({ number: full, ...rest }: Then) => ({ ...rest, last4: full.slice(-4) })
      assert.deepEqual(
        found.map(({ last4, exp_month, exp_year, status }) => ({ exp_month, exp_year, status, last4 })),
        chain.map(shown),
      )
      assert.deepEqual(
        found.map(({ id }) => id),
        ids,
      )
      // One fingerprint a number, whatever became of it in between.
      const pairs = new Set(found.map(({ fingerprint }, index) => `${fingerprint} ${chain[index]!.number}`))
      assert.equal(pairs.size, new Set(chain.map((then) => then.number)).size)
      for (const [index, version] of found.entries()) {
        const from = Date.parse(version.created_at)
        const until = found[index + 1] === undefined ? from + 1_000 : Date.parse(found[index + 1]!.created_at)
        for (const moment of [from, until - 1]) {
          const then = await asOf(moment)
          assert.deepEqual([then.id, then.version], [card.id, version.id])
          assert.deepEqual(contentOf(then), contentOf(version))
        }
      }
      await assert.rejects(asOf(Date.parse(card.created_at) - 1), { code: 'not_found' })
      assert.deepEqual(contentOf(await read()), contentOf(found.at(-1)!))
      assert.equal(await number(), chain.at(-1)!.number)
      assert.equal((await rows('superseded_versions')).length, chain.length - 1)
    }),
    { numRuns: 25 },
  )
})

test('changes of number, status and expiry at the same time make versions one after another, and none is lost', async () => {
  const { card, caller, update, replace, restore, versions, read, rows, number } = await kept()
  const answers = await Promise.all(
    Array.from({ length: 48 }, async (_, index) => {
      const through = index % 2 === 0 ? vault : beside
      if (index % 4 === 0) return parsed(await replace(numbers[(index / 4) % 3]!, {}, null, through))
      if (index % 4 === 1)
        return parsed(await update({ exp_month: 1 + (index % 12), exp_year: 2041 }, null, through.changes))
      if (index % 4 === 2) return parsed(await restore(card.version, null, through))
      return parsed(await update({ status: index % 8 === 3 ? 'closed' : 'active' }, null, through.changes))
    }),
  )
  const chain = await versions()
  // Every answer was the card at its moment: the version that it names, or one that changed nothing.
  for (const answer of answers) {
    const version = chain.find(({ id }) => id === answer.version)!
    assert.deepEqual(contentOf(version), contentOf(answer))
  }
  assert.equal(new Set(answers.map((answer) => answer.updated_at)).size, 48)
  for (let index = 1; index < chain.length; index++)
    assert.ok(chain[index]!.created_at > chain[index - 1]!.created_at)
  assert.deepEqual(contentOf(await read()), contentOf(chain.at(-1)!))
  assert.equal((await rows('outbox')).length, 1 + 48)
  const last4 = (await number()).slice(-4)
  assert.equal(last4, chain.at(-1)!.last4)
  assert.equal((await rowsOf(postgres, 'instruments', caller.merchant_id)).length, 3)
})

test('SEC-35: a number is erased some days after it was superseded, and then nothing goes back to it', async () => {
  const relay = postgres.open('coffer_vault_relay')
  const alone = await kept()
  const { card, caller, update, replace, restore, versions, number, actions, rows } = await kept({
    cardholder_name: 'Ada',
  })
  const replaced = parsed(await replace(goodNumbers.mastercard))
  await update({ exp_month: 1, exp_year: 2040 })
  const age = (version: string, days: number) =>
    postgres.query(
      'coffer_vault_migrator',
      `update superseded_versions set superseded_at = now() - $2 * interval '1 day' where card_version_id = $1`,
      [version, days],
    )
  await age(card.version, 91)
  await age(replaced.version, 89)
  const erase = eraseSupersededNumbers(90)
  // Two processes at once erase it once.
  await Promise.all([erase(relay), erase(relay)])
  const [first, second, third] = await versions()
  assert.notEqual(first!.number_erased_at, null)
  assert.deepEqual([second!.number_erased_at, third!.number_erased_at], [null, null])
  // The chain keeps everything else, and each moment its version.
  assert.deepEqual(contentOf(first!), contentOf(card))
  const stored = (await rows('card_versions')).find((row) => row['card_version_id'] === card.version)!
  assert.deepEqual([stored['number_encrypted'], stored['cardholder_name']], [null, 'Ada'])
  await assert.rejects(restore(card.version), { code: 'card_number_erased', param: 'version' })
  assert.equal(await number(), goodNumbers.mastercard)
  assert.equal(parsed(await restore(replaced.version)).exp_year, 2032)
  assert.equal((await actions()).filter((action) => action === 'card.erase_version').length, 1)
  assert.equal((await alone.versions())[0]!.number_erased_at, null)
  // A name that stayed beside an erased number goes with its card.
  await vault.changes.remove(caller, card.id)
  await postgres.query(
    'coffer_vault_migrator',
    `update cards set deleted_at = now() - interval '27 h' where card_id = $1`,
    [card.id],
  )
  await eraseDeletedCards(relay)
  for (const version of await rows('card_versions'))
    assert.deepEqual([version['number_encrypted'], version['cardholder_name']], [null, null])
})

test('the login that erases numbers can do so to none that is current, or was superseded only just', async () => {
  const { card, caller, replace, versions } = await kept()
  await replace(goodNumbers.mastercard)
  const asRelay = (text: string) => postgres.query('coffer_vault_relay', text)
  const mine = `where merchant_id = '${caller.merchant_id}'`
  await asRelay(`update card_versions set number_encrypted = null, erased_at = now() ${mine}`)
  await asRelay(`delete from superseded_versions ${mine}`)
  assert.ok((await versions()).every((version) => version.number_erased_at === null))
  const text = `update superseded_versions set superseded_at = now() - interval '49 h' where card_version_id = $1`
  await postgres.query('coffer_vault_migrator', text, [card.version])
  const put = `update card_versions set number_encrypted = sha512('x') ${mine}`
  await assert.rejects(asRelay(put), { code: '42501' })
  await asRelay(`update card_versions set number_encrypted = null, erased_at = now() ${mine}`)
  assert.deepEqual(
    (await versions()).map((version) => version.number_erased_at !== null),
    [true, false],
  )
})

test('the database itself lets the service edit no version and take none away', async () => {
  const { caller, card } = await kept()
  const edits = [
    `update card_versions set exp_year = 2099`,
    `update card_versions set number_encrypted = null, erased_at = now()`,
    `delete from card_versions`,
    `delete from superseded_versions`,
    `update superseded_versions set superseded_at = now()`,
  ]
  for (const edit of edits) {
    const text = `${edit} where merchant_id = '${caller.merchant_id}'`
    await assert.rejects(postgres.query('coffer_vault_service', text), { code: '42501' }, edit)
  }
  assert.equal((await rowsOf(postgres, 'card_versions', caller.merchant_id)).length, 1)
  assert.equal((await vault.cards.get(caller.merchant_id, card.id)).version, card.version)
})
