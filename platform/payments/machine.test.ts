import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { declineActions, declineReasons } from '@coffer/core/connector.ts'
import { money } from '@coffer/core/money.ts'
import fc from 'fast-check'
import { operationRules } from '../operations/rules.ts'
import { adviceSources } from '../retries/advice.ts'
import { type Ending, httpStatusOf, openStates, paymentTransitions, settlementOf } from './machine.ts'

const text = fc.string({ maxLength: 30 })
const orNull = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: null })

const endings: fc.Arbitrary<Ending> = fc.oneof(
  fc.record({
    kind: fc.constant('approved' as const),
    amount: fc.bigInt({ min: 1n, max: 99_999_999_999n }).map((minor) => money(minor, 'EUR')),
    captured: fc.boolean(),
    psp_reference: text,
    network_transaction_id: orNull(text),
    transaction_link_id: orNull(text),
  }),
  fc.record({
    kind: fc.constant('declined' as const),
    decline: fc.record({
      reason: fc.constantFrom(...declineReasons),
      action: fc.constantFrom(...declineActions),
      psp_code: text,
      psp_code_namespace: text,
      network_decline_code: orNull(text),
      network_advice_code: orNull(text),
      source: fc.constantFrom(...adviceSources),
      network_category: fc.constantFrom(null, 1, 2, 3, 4),
      retry_after: orNull(text),
    }),
    psp_reference: orNull(text),
  }),
  fc.record({ kind: fc.constant('rejected' as const), psp_code: text, message: text }),
  fc.record({ kind: fc.constant('pending' as const), psp_reference: text }),
  fc.record({
    kind: fc.constant('action_required' as const),
    psp_reference: text,
    redirect_url: orNull(text),
  }),
  fc.record({ kind: fc.constant('unknown' as const), cause: text, psp_reference: orNull(text) }),
  fc.record({ kind: fc.constant('not_sent' as const), message: text }),
)

/** Every ending there is, with what it makes of attempt and payment. */
const table: Record<Ending['kind'], [attempt: string, payment: string[]]> = {
  approved: ['approved', ['authorized', 'captured']],
  declined: ['declined', ['declined']],
  rejected: ['rejected', ['failed']],
  not_sent: ['not_sent', ['failed']],
  action_required: ['action_required', ['requires_action']],
  pending: ['pending', ['processing']],
  unknown: ['unknown', ['unknown']],
}

test('every ending makes of attempt and payment what the table says, and tells it in an event of that name', () => {
  fc.assert(
    fc.property(endings, (ending) => {
      const settlement = settlementOf(ending)
      const [attempt, payments] = table[ending.kind]
      assert.equal(settlement.attempt_state, attempt)
      assert.ok(payments.includes(settlement.payment_status))
      assert.equal(settlement.event_type, `payment.${settlement.payment_status}`)
    }),
  )
})

test('money moves exactly where the PSP approved, and failed is never said where any moved', () => {
  fc.assert(
    fc.property(endings, (ending) => {
      const { entries, payment_status } = settlementOf(ending)
      if (ending.kind === 'approved')
        assert.deepEqual(entries, ending.captured ? ['authorization', 'capture'] : ['authorization'])
      else assert.deepEqual(entries, [])
      assert.equal(payment_status === 'captured', entries.includes('capture'))
      if (payment_status === 'failed' || payment_status === 'declined') assert.deepEqual(entries, [])
    }),
  )
})

test('only what is not known yet stays open and is answered 202; what is settled is 201', () => {
  fc.assert(
    fc.property(endings, (ending) => {
      const { attempt_state, payment_status } = settlementOf(ending)
      const isOpen = ending.kind === 'pending' || ending.kind === 'unknown'
      assert.equal(openStates.includes(attempt_state), isOpen)
      assert.equal(httpStatusOf(payment_status), isOpen ? 202 : 201)
    }),
  )
})

test('a reason is told where there is one: a decline, a failure, a cause, and never two of them', () => {
  fc.assert(
    fc.property(endings, (ending) => {
      const { decline, failure, cause } = settlementOf(ending)
      assert.equal(decline !== null, ending.kind === 'declined')
      assert.equal(failure !== null, ending.kind === 'rejected' || ending.kind === 'not_sent')
      assert.equal(cause !== null, ending.kind === 'unknown')
    }),
  )
})

test('the drawing in the documentation is the table', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/payments.md'), 'utf8')
  const drawing = /## States\s+```mermaid(.*?)```/s.exec(text)![1]!
  const drawn = [...drawing.matchAll(/^ *(\S+) --> (\S+?)(?::.*)?$/gm)].map(([, from, to]) => `${from} ${to}`)
  const table = Object.entries(paymentTransitions).flatMap(([from, following]) =>
    following.length === 0 ? [`${from} [*]`] : following.map((to) => `${from} ${to}`),
  )
  assert.deepEqual(drawn.toSorted(), ['[*] processing', ...table].toSorted())
})

test('what an ending or an operation makes of a payment is in the table of what may follow', () => {
  for (const [, payments] of Object.values(table))
    for (const status of payments)
      for (const from of ['processing', 'unknown'] as const)
        assert.ok(
          from === status || paymentTransitions[from].some((to) => to === status),
          `${from} → ${status}`,
        )
  for (const { from, to } of Object.values(operationRules))
    for (const status of from)
      assert.ok(status === to || paymentTransitions[status].includes(to), `${status} → ${to}`)
})

test('one settlement shares nothing with the next', () => {
  const unknown: Ending = { kind: 'unknown', cause: 'no_answer', psp_reference: null }
  settlementOf(unknown).entries.push('capture')
  assert.deepEqual(settlementOf(unknown).entries, [])
})
