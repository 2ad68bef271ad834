import assert from 'node:assert/strict'
import { test } from 'node:test'
import { brandNames } from '@coffer/core/card-brands.ts'
import fc from 'fast-check'
import { bucketOf, type ConnectionState, choose, type Facts, matches } from './choose.ts'
import { connectionsOf, fundings, type Route, type RuleSet, type When } from './rules.ts'
import { subsumes, validateRules } from './validate.ts'

const someOf = <Value>(...values: Value[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 3 })
const bins = fc.constantFrom('4', '42', '4242', '40-49', '424242', '42424242', '51-55', '5100-5599')
const when: fc.Arbitrary<When> = fc.record(
  {
    brand: someOf(...brandNames.slice(0, 3)),
    bin: fc.uniqueArray(bins, { minLength: 1, maxLength: 2 }),
    issuer_country: someOf('DE', 'FR', 'unknown'),
    funding: someOf(...fundings),
    currency: someOf('EUR', 'USD'),
    amount: fc.record({ min: fc.nat(50), max: fc.integer({ min: 50, max: 100 }) }, { requiredKeys: [] }),
    usage: someOf('subscription' as const, 'unscheduled' as const),
    initiator: fc.constantFrom('customer' as const, 'merchant' as const),
    metadata: fc.dictionary(fc.constantFrom('plan', 'shop'), fc.constantFrom('a', 'b'), { maxKeys: 2 }),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<When>

const facts: fc.Arbitrary<Facts> = fc.record({
  card: fc.uuid(),
  brand: fc.constantFrom('visa', 'mastercard', null),
  bin: fc.constantFrom('42424242', '424242', '51000000', '55', null),
  issuer_country: fc.constantFrom('DE', 'FR', 'unknown'),
  funding: fc.constantFrom(...fundings),
  currency: fc.constantFrom('EUR', 'USD'),
  amount: fc.nat(120),
  usage: fc.constantFrom('subscription', 'unscheduled', null),
  initiator: fc.constantFrom('customer' as const, 'merchant' as const),
  metadata: fc.dictionary(fc.constantFrom('plan', 'shop'), fc.constantFrom('a', 'b')),
})

const ids = ['con_1', 'con_2', 'con_3', 'con_4']
const route: fc.Arbitrary<Route> = fc
  .record({ use: fc.shuffledSubarray(ids, { minLength: 1 }), kind: fc.nat(2) })
  .map(({ use, kind }) => {
    if (kind === 0) return { use: use.map((connection) => ({ connection })) }
    if (kind === 1) return { use: use.map((connection) => ({ connection })), order: 'success_rate' }
    const part = Math.floor(100 / use.length)
    const rest = 100 - part * (use.length - 1)
    return { use: use.map((connection, at) => ({ connection, percentage: at === 0 ? rest : part })) }
  })
const set: fc.Arbitrary<RuleSet> = fc.record({
  rules: fc
    .array(fc.record({ when, route }), { maxLength: 4 })
    .map((all) => all.map(({ when: asked, route: to }, at) => ({ name: `rule ${at}`, when: asked, ...to }))),
  default: fc.option(route),
})
const state: fc.Arbitrary<ConnectionState | undefined> = fc.option(
  fc.record({
    status: fc.constantFrom('active' as const, 'disabled' as const),
    circuit: fc.constantFrom('closed' as const, 'open' as const),
    success_rate: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  { nil: undefined },
)
const states = fc.record(Object.fromEntries(ids.map((id) => [id, state])))

const healthy = () => ({ status: 'active', circuit: 'closed', success_rate: 1 }) as const

const germanVisa: Facts = {
  ...{
    card: 'card_1',
    brand: 'visa',
    bin: '42424242',
    issuer_country: 'DE',
    funding: 'debit',
    currency: 'EUR',
  },
  ...{ amount: 1_000, usage: null, initiator: 'customer', metadata: { plan: 'gold' } },
}

test('the first rule that matches decides; the same facts give the same choice', () => {
  fc.assert(
    fc.property(set, facts, states, (rules, known, how) => {
      const choice = choose(rules, known, (id) => how[id])
      assert.deepEqual(
        choose(rules, known, (id) => how[id]),
        choice,
      )
      const first = rules.rules.find((rule) => matches(rule.when, known))
      assert.equal(choice.rule, first?.name ?? (rules.default ? 'default' : null))
      assert.equal(choice.route, first ?? rules.default)
    }),
  )
})

test('every connection of the rule is told with its reason; only active ones are usable, open circuits last', () => {
  fc.assert(
    fc.property(set, facts, states, (rules, known, how) => {
      const { route: chosen, candidates, usable } = choose(rules, known, (id) => how[id])
      const named = chosen?.use.map(({ connection }) => connection) ?? []
      assert.deepEqual(candidates.map(({ connection }) => connection).toSorted(), named.toSorted())
      const active = named.filter((id) => how[id]?.status === 'active')
      const closed = active.filter((id) => how[id]?.circuit === 'closed')
      if (closed.length > 0) assert.deepEqual(usable.toSorted(), closed.toSorted())
      else assert.equal(usable.length, Math.min(active.length, 1))
      const tried = candidates.filter(({ result }) => result === 'chosen' || result === 'next')
      assert.deepEqual(
        tried.map(({ connection }) => connection),
        usable,
      )
      assert.equal(candidates.filter(({ result }) => result === 'chosen').length, usable.length > 0 ? 1 : 0)
    }),
  )
})

test('a split gives each connection its share of the cards, and one card always the same', () => {
  const rules: RuleSet = {
    rules: [
      {
        ...{ name: 'split', when: {} },
        use: [
          { connection: 'con_1', percentage: 70 },
          { connection: 'con_2', percentage: 30 },
          { connection: 'con_3', percentage: 0 },
        ],
      },
    ],
  }
  const counts = new Map<string, number>()
  for (let index = 0; index < 10_000; index++) {
    const { usable, bucket } = choose(rules, { ...germanVisa, card: `card_${index}` }, healthy)
    assert.equal(bucket, bucketOf(`card_${index}`, 'split'))
    assert.equal(usable[0], bucket! < 70 ? 'con_1' : 'con_2')
    assert.equal(usable.length, 3)
    counts.set(usable[0]!, (counts.get(usable[0]!) ?? 0) + 1)
  }
  assert.ok(Math.abs(counts.get('con_1')! - 7_000) < 200, `${counts.get('con_1')}`)
})

test('by success rate the best comes first, and equals stay as listed', () => {
  const rates: Record<string, number> = { con_1: 0.5, con_2: 0.9, con_3: 0.5 }
  const rules: RuleSet = {
    rules: [],
    default: { use: Object.keys(rates).map((connection) => ({ connection })), order: 'success_rate' },
  }
  const { usable } = choose(rules, germanVisa, (id) => ({ ...healthy(), success_rate: rates[id]! }))
  assert.deepEqual(usable, ['con_2', 'con_1', 'con_3'])
})

test('what is not known matches only a rule that asks for the unknown', () => {
  const known = { ...germanVisa, brand: null, bin: null, issuer_country: 'unknown', funding: 'unknown' }
  for (const asked of [
    { brand: ['visa'] },
    { bin: ['4'] },
    { issuer_country: ['DE'] },
    { usage: ['subscription'] },
  ])
    assert.equal(matches(asked as When, known), false)
  assert.equal(matches({ issuer_country: ['unknown'], funding: ['unknown'] }, known), true)
})

test('a range of first digits takes both its ends, and no card of which fewer digits are known', () => {
  const is = (bin: string, text: string) => matches({ bin: [text] }, { ...germanVisa, bin })
  assert.deepEqual(
    [is('51000000', '51-55'), is('55999999', '51-55'), is('56000000', '51-55'), is('510000', '51-55')],
    [true, true, false, true],
  )
  assert.deepEqual([is('424242', '42424242'), is('42424242', '42424242')], [false, true])
})

test('a rule that another subsumes matches nothing that the other does not', () => {
  let subsumed = 0
  // The wider of the two has some conditions of the other, and seldom one of its own.
  const pair = fc.tuple(when, when, fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 9, maxLength: 9 }))
  const wider = ([inner, other, dice]: [When, When, number[]]): When => ({
    ...Object.fromEntries(Object.entries(inner).filter((_each, at) => dice[at]! < 5)),
    ...Object.fromEntries(Object.entries(other).filter((_each, at) => dice[at] === 9)),
  })
  fc.assert(
    fc.property(pair, fc.array(facts, { minLength: 20, maxLength: 20 }), (drawn, all) => {
      const [inner] = drawn
      const outer = wider(drawn)
      if (!subsumes(outer, inner)) return
      subsumed += 1
      for (const known of all) if (matches(inner, known)) assert.ok(matches(outer, known))
    }),
    { numRuns: 2_000 },
  )
  assert.ok(subsumed > 100, `${subsumed}`)
})

const set1 = (...rules: object[]) =>
  ({
    rules: rules.map((rule, at) => ({
      ...{ name: `rule ${at}`, when: {}, use: [{ connection: 'con_1' }] },
      ...rule,
    })),
  }) as RuleSet
const refused = (rules: RuleSet, code: string, param: string) =>
  assert.throws(() => validateRules(rules, (id) => ids.includes(id)), { code, param })

test('rules that contradict themselves, or can never match, are refused by their name', () => {
  const visa = { when: { brand: ['visa'] } }
  const invalid = 'routing_invalid'
  refused(set1({}, visa), invalid, 'rules.1')
  refused(set1(visa, { when: { brand: ['visa'], currency: ['EUR'] } }), invalid, 'rules.1')
  refused(set1({ when: { bin: ['4'] } }, { when: { bin: ['4242', '45-46'] } }), invalid, 'rules.1')
  refused(set1({ when: { bin: ['46-45'] } }), invalid, 'rules.0.when.bin')
  refused(set1({ when: { bin: ['4-4242'] } }), invalid, 'rules.0.when.bin')
  refused(set1({ when: { amount: { min: 1 } } }), invalid, 'rules.0.when.amount')
  const backwards = { amount: { min: 2, max: 1 }, currency: ['EUR'] }
  refused(set1({ when: backwards }), invalid, 'rules.0.when.amount')
  refused(set1(visa, { name: 'rule 0' }), invalid, 'rules.1.name')
  refused(set1({ name: 'default' }), invalid, 'rules.0.name')
  refused({ ...set1({}), default: { use: [{ connection: 'con_1' }] } }, invalid, 'default')
  refused(set1({ when: { currency: ['ABC'] } }), 'currency_unknown', 'rules.0.when.currency')
  validateRules(set1(visa, {}), (id) => ids.includes(id))
})

test('what no card has is refused: first digits of another brand or of none, a country that is none', () => {
  const bins = (bin: string[], ...brand: string[]) =>
    set1({ when: { bin, ...(brand.length > 0 && { brand }) } })
  for (const never of [bins(['55'], 'visa'), bins(['4242', '2221-2720'], 'visa', 'amex'), bins(['11'])])
    refused(never, 'routing_invalid', 'rules.0.when.bin')
  const nowhere = set1({ when: { issuer_country: ['DE', 'ZZ'] } })
  refused(nowhere, 'routing_invalid', 'rules.0.when.issuer_country')
  const possible = [bins(['4'], 'elo'), bins(['40-55'], 'mastercard'), bins(['6', '4242'])]
  for (const rules of [...possible, set1({ when: { issuer_country: ['DE', 'unknown'] } })])
    validateRules(rules, (id) => ids.includes(id))
})

test('connections of a rule are known, different, and their percentages make 100', () => {
  const use = (...percentages: (number | undefined)[]) =>
    set1({
      use: percentages.map((percentage, at) => ({
        connection: ids[at],
        ...(percentage !== undefined && { percentage }),
      })),
    })
  for (const wrong of [use(50, 49), use(50, undefined), use(0), use(100, 1)])
    refused(wrong, 'routing_invalid', 'rules.0.use')
  refused(set1({ use: [{ connection: 'con_1' }, { connection: 'con_1' }] }), 'routing_invalid', 'rules.0.use')
  refused(set1({ use: [{ connection: 'con_other' }] }), 'connection_not_found', 'rules.0.use')
  refused(set1({ failover: false, failover_on: ['not_sent'] }), 'routing_invalid', 'rules.0.failover_on')
  const both = { use: [{ connection: 'con_1', percentage: 100 }], order: 'success_rate' }
  refused(set1(both), 'routing_invalid', 'rules.0.order')
  validateRules(use(100, 0), (id) => ids.includes(id))
  assert.deepEqual(connectionsOf(use(50, 50)), ['con_1', 'con_2'])
})

test('no text of a rule may hold a card number', () => {
  const number = '4242 4242 4242 4242'
  refused(set1({ name: number }), 'card_number_in_wrong_field', 'rules.0.name')
  refused(set1({ when: { metadata: { plan: number } } }), 'card_number_in_wrong_field', 'rules.0.when')
  refused(set1({ use: [{ connection: number }] }), 'card_number_in_wrong_field', 'rules.0.use')
})
