import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault, rowsOf, serialize, testCard } from '../test-vault.ts'
import type { Card, NewCard } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const { cards } = vault

const number = '4242424242424242'
const otherNumber = '5555555555554444'
const tables = ['cards', 'card_versions', 'audit_records', 'outbox', 'idempotency_records', 'instruments']

const countsOf = async (merchant: string) =>
  Object.fromEntries(
    await Promise.all(
      tables.map(async (table) => [table, (await rowsOf(postgres, table, merchant)).length] as const),
    ),
  )

type Wish = { caller?: ReturnType<typeof newCaller>; input?: Partial<NewCard>; key?: string | null }
const create = ({ caller = newCaller(), input = {}, key = null }: Wish) =>
  cards.create(caller, testCard(input), key, serialize)

const parsed = (answer: { body: string }) => JSON.parse(answer.body) as Card

test('what is answered is kept: card, version, audit record, event, and the number encrypted', async () => {
  const caller = newCaller()
  const merchant = caller.merchant_id
  const input = { cardholder_name: 'Ada "Lovelace"', customer: 'cus_1', metadata: { order: '17', empty: '' } }
  const answer = await create({ caller, input, key: 'key-1' })
  assert.equal(answer.status, 201)
  const card = parsed(answer)
  assert.deepEqual(
    [card.brand, card.bin, card.last4, card.exp_month, card.exp_year, card.status],
    ['visa', '42424242', '4242', 12, 2030, 'active'],
  )
  assert.deepEqual(
    [card.cardholder_name, card.customer, card.metadata],
    [input.cardholder_name, 'cus_1', input.metadata],
  )
  assert.deepEqual(await cards.get(merchant, card.id), card)
  assert.deepEqual(await countsOf(merchant), {
    cards: 1,
    card_versions: 1,
    audit_records: 1,
    outbox: 1,
    idempotency_records: 1,
    instruments: 1,
  })
  const [version] = await rowsOf(postgres, 'card_versions', merchant)
  const [audit] = await rowsOf(postgres, 'audit_records', merchant)
  const sealed = version!['number_encrypted'] as Buffer
  assert.ok(!sealed.includes(number))
  assert.deepEqual(audit!['ciphertext_hash'], createHash('sha256').update(sealed).digest())
  assert.deepEqual(
    [audit!['action'], audit!['object_id'], audit!['actor'], audit!['key_id'], audit!['source_address']],
    ['card.create', card.id, 'ada', caller.key_id, '192.0.2.7'],
  )
  const [event] = await rowsOf(postgres, 'outbox', merchant)
  assert.deepEqual([event!['type'], event!['object_id'], event!['data']], ['card.created', card.id, card])
})

test('SEC-01: neither number nor CVC stands in the clear in any row of any table', async () => {
  const caller = newCaller()
  const { id } = parsed(await create({ caller, input: { number: '378282246310005', cvc: '9173' }, key: 'k' }))
  await cards.reveal(caller, id, 'a test')
  for (const table of [...tables, 'data_keys']) {
    const text = JSON.stringify(await rowsOf(postgres, table, caller.merchant_id))
    assert.doesNotMatch(text, /378282246310005|"9173"|82246310/, table)
  }
  assert.equal(vault.cvcLeases.take({ merchant_id: caller.merchant_id, card_id: id }, 'att_1'), '9173')
})

test('the same number of a merchant has one fingerprint, of another merchant another', async () => {
  const caller = newCaller()
  const of = async (wish: Wish) => parsed(await create(wish)).fingerprint
  const first = await of({ caller })
  const together = await Promise.all([
    of({ caller }),
    of({ caller }),
    of({ caller, input: { exp_year: 2031 } }),
  ])
  assert.deepEqual(new Set([first, ...together]), new Set([first]))
  assert.notEqual(await of({ caller, input: { number: otherNumber } }), first)
  assert.notEqual(await of({ caller: newCaller() }), first)
})

test('a number that is new in many requests at once gets one fingerprint', async () => {
  const caller = newCaller()
  const all = await Promise.all(Array.from({ length: 60 }, () => create({ caller })))
  assert.equal(new Set(all.map((answer) => parsed(answer).fingerprint)).size, 1)
  assert.equal(new Set(all.map((answer) => parsed(answer).id)).size, 60)
  assert.equal((await rowsOf(postgres, 'instruments', caller.merchant_id)).length, 1)
})

test('F-22: a hundred requests with one key make one card and get one answer, byte for byte', async () => {
  const caller = newCaller()
  const all = await Promise.all(Array.from({ length: 100 }, () => create({ caller, key: 'same' })))
  assert.equal(new Set(all.map((answer) => `${answer.status} ${answer.body}`)).size, 1)
  assert.deepEqual(await countsOf(caller.merchant_id), {
    cards: 1,
    card_versions: 1,
    audit_records: 1,
    outbox: 1,
    idempotency_records: 1,
    instruments: 1,
  })
  const later = await create({ caller, key: 'same' })
  assert.equal(later.body, all[0]!.body)
})

test('a key of another body is refused and changes nothing, at once or later; of another merchant it is free', async () => {
  const caller = newCaller()
  const reused = { code: 'idempotency_key_reused' }
  const both = await Promise.allSettled([
    create({ caller, key: 'k' }),
    create({ caller, key: 'k', input: { number: otherNumber } }),
  ])
  assert.deepEqual(both.map((one) => one.status).sort(), ['fulfilled', 'rejected'])
  const lost = both.find((one) => one.status === 'rejected')
  assert.equal(lost?.reason.code, 'idempotency_key_reused')
  const winner = both[0].status === 'fulfilled' ? number : otherNumber
  for (const input of [{ exp_month: 1 }, { customer: 'c' }, { metadata: { a: '1' } }])
    await assert.rejects(create({ caller, key: 'k', input: { number: winner, ...input } }), reused)
  assert.equal((await rowsOf(postgres, 'cards', caller.merchant_id)).length, 1)
  assert.equal((await create({ caller: newCaller(), key: 'k', input: { exp_month: 1 } })).status, 201)
})

test('another CVC is no other body, because a CVC is never stored, not even hashed', async () => {
  const caller = newCaller()
  const first = await create({ caller, key: 'k', input: { cvc: '123' } })
  assert.equal((await create({ caller, key: 'k', input: { cvc: '456' } })).body, first.body)
  assert.equal((await create({ caller, key: 'k' })).body, first.body)
})

test("a customer's text is given back as it came, whatever it looks like, also when replayed and in the event", async () => {
  const caller = newCaller()
  const texts = ['fpr_pending', '$&', '{{card.number}}', `"'\\`, '\u2028', '😀', 'fpr_0']
  for (const [index, text] of texts.entries()) {
    const input = { cardholder_name: text, customer: text, metadata: { [text]: text } }
    const first = await create({ caller, input, key: `k${index}` })
    const again = await create({ caller, input, key: `k${index}` })
    assert.equal(again.body, first.body)
    const card = parsed(first)
    assert.deepEqual([card.cardholder_name, card.customer, card.metadata], [text, text, { [text]: text }])
    assert.deepEqual(await cards.get(caller.merchant_id, card.id), card)
    const event = (await rowsOf(postgres, 'outbox', caller.merchant_id)).find(
      (row) => row['object_id'] === card.id,
    )
    assert.deepEqual(event!['data'], card)
  }
})

test('SEC-13: a card is there for its merchant only; unknown, foreign and malformed ids look the same', async () => {
  const caller = newCaller()
  const { id } = parsed(await create({ caller }))
  const stranger = newCaller()
  for (const wrong of [newId('card'), newId('payment'), '', 'card_', `${id}x`, "card_' or true --"])
    await assert.rejects(cards.get(caller.merchant_id, wrong), { code: 'not_found' })
  await assert.rejects(cards.get(stranger.merchant_id, id), { code: 'not_found' })
  await assert.rejects(cards.reveal(stranger, id, 'a reason'), { code: 'not_found' })
  assert.equal((await rowsOf(postgres, 'audit_records', stranger.merchant_id)).length, 0)
})

test('many reads share a look-up, each with its own card', async () => {
  const callers = [newCaller(), newCaller()]
  const ids = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const caller = callers[index % 2]!
      return {
        caller,
        id: parsed(await create({ caller, input: { exp_year: 2030 + (index % 9) } })).id,
        year: 2030 + (index % 9),
      }
    }),
  )
  const found = await Promise.all(ids.map(({ caller, id }) => cards.get(caller.merchant_id, id)))
  assert.deepEqual(
    found.map((card) => [card.id, card.exp_year]),
    ids.map(({ id, year }) => [id, year]),
  )
})

test('SEC-18: a reveal gives the number, and its audit record says who, why and which bytes', async () => {
  const caller = newCaller()
  const { id } = parsed(await create({ caller, input: { cardholder_name: 'Ada' } }))
  const revealed = await cards.reveal({ ...caller, actor: 'grace' }, id, 'a chargeback')
  assert.deepEqual([revealed.number, revealed.exp_month, revealed.cardholder_name], [number, 12, 'Ada'])
  const audit = (await rowsOf(postgres, 'audit_records', caller.merchant_id)).filter(
    (row) => row['action'] === 'card.reveal',
  )
  assert.equal(audit.length, 1)
  assert.deepEqual(
    [audit[0]!['actor'], audit[0]!['reason'], audit[0]!['object_id']],
    ['grace', 'a chargeback', id],
  )
  assert.equal((audit[0]!['ciphertext_hash'] as Buffer).length, 32)
})

test('SEC-18, I12: the audit record is committed before the number leaves; where it cannot be, no number leaves', async () => {
  const caller = newCaller()
  const { id } = parsed(await create({ caller }))
  const log: string[] = []
  const watched = await openTestVault(postgres, (database) => ({
    ...database,
    async commit(merchants, statement) {
      const rows = await database.commit<never>(merchants, statement)
      if (statement.name === 'insert_reveal_records') log.push('committed')
      return rows
    },
  }))
  await watched.cards.reveal(caller, id, 'a reason').then(() => log.push('answered'))
  assert.deepEqual(log, ['committed', 'answered'])
  await postgres.query('coffer_vault_migrator', 'revoke insert on audit_records from coffer_vault_service')
  try {
    await assert.rejects(
      cards.reveal(caller, id, 'a reason'),
      (error: Error) => !JSON.stringify(error).includes(number),
    )
    await assert.rejects(create({ caller }))
  } finally {
    await postgres.query('coffer_vault_migrator', 'grant insert on audit_records to coffer_vault_service')
  }
  assert.equal((await rowsOf(postgres, 'cards', caller.merchant_id)).length, 1)
  assert.equal((await cards.reveal(caller, id, 'a reason')).number, number)
})

test('a card number is no reason to reveal one: reasons are stored as they are', async () => {
  const caller = newCaller()
  const { id } = parsed(await create({ caller }))
  await assert.rejects(cards.reveal(caller, id, `is it ${otherNumber}?`), {
    code: 'card_number_in_wrong_field',
    param: 'reason',
  })
  assert.equal((await rowsOf(postgres, 'audit_records', caller.merchant_id)).length, 1)
})

test("SEC-06, F-26: a number put in another card's row is not revealed", async () => {
  const caller = newCaller()
  const [one, other] = [
    parsed(await create({ caller })),
    parsed(await create({ caller, input: { number: otherNumber } })),
  ]
  await postgres.query(
    'coffer_vault_migrator',
    `update card_versions set number_encrypted = (select number_encrypted from card_versions where card_id = $1)
     where card_id = $2`,
    [one.id, other.id],
  )
  await assert.rejects(cards.reveal(caller, other.id, 'a reason'), /authenticate|unsupported state/i)
  assert.equal((await cards.reveal(caller, one.id, 'a reason')).number, number)
  assert.equal((await rowsOf(postgres, 'audit_records', caller.merchant_id)).length, 3)
})

test('a CVC is kept for the new card only: a repeated request brings none back', async () => {
  const caller = newCaller()
  const { id } = parsed(await create({ caller, key: 'k', input: { cvc: '737' } }))
  const place = { merchant_id: caller.merchant_id, card_id: id }
  assert.equal(vault.cvcLeases.take(place, 'att_1'), '737')
  vault.cvcLeases.forget(place, 'att_1')
  await create({ caller, key: 'k', input: { cvc: '737' } })
  assert.equal(vault.cvcLeases.take(place, 'att_2'), undefined)
})
