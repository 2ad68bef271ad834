import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { declineActions, declineReasons } from '@coffer/core/connector.ts'
import { money } from '@coffer/core/money.ts'
import fc from 'fast-check'
import { openOperationStates, operationTransitions } from '../operations/machine.ts'
import { operationRules } from '../operations/rules.ts'
import { adviceSources } from '../retries/advice.ts'
import { withDrawings } from './drawings.ts'
import {
  attemptTransitions,
  type Ending,
  httpStatusOf,
  openStates,
  paymentTransitions,
  settlementOf,
} from './machine.ts'

const text = fc.string({ maxLength: 30 })
const orNull = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: null })

const endings: fc.Arbitrary<Ending> = fc.oneof(
  fc.record({
    kind: fc.constant('approved' as const),
    amount: fc.bigInt({ min: 0n, max: 99_999_999_999n }).map((minor) => money(minor, 'EUR')),
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
  approved: ['approved', ['verified', 'authorized', 'captured']],
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
      const { entries, entry_minor, payment_status } = settlementOf(ending)
      if (ending.kind === 'approved' && ending.amount.amount_minor > 0n) {
        assert.deepEqual(entries, ending.captured ? ['authorization', 'capture'] : ['authorization'])
        assert.equal(entry_minor, ending.amount.amount_minor)
      } else assert.deepEqual([entries, entry_minor], [[], 0n])
      assert.equal(payment_status === 'verified', ending.kind === 'approved' && entries.length === 0)
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

test('the drawings in the documentation are made from the tables', () => {
  const file = join(import.meta.dirname, '../../docs/payments.md')
  const text = readFileSync(file, 'utf8')
  if (process.env['UPDATE_DRAWINGS'] === '1') writeFileSync(file, withDrawings(text))
  assert.equal(readFileSync(file, 'utf8'), withDrawings(text), 'UPDATE_DRAWINGS=1 draws them anew')
})

test('every state of every table is reached, and from every one that is open an end is', () => {
  const follow: Record<string, readonly string[]>[] = [
    paymentTransitions,
    attemptTransitions,
    operationTransitions,
  ]
  for (const table of follow) {
    const reachedFrom = (state: string) => {
      const reached = new Set([state])
      for (const each of reached) for (const next of table[each]!) reached.add(next)
      return [...reached]
    }
    assert.deepEqual(reachedFrom(Object.keys(table)[0]!).toSorted(), Object.keys(table).toSorted())
    for (const state of Object.keys(table))
      assert.ok(
        reachedFrom(state).some((reached) => table[reached]!.length === 0),
        state,
      )
  }
  for (const state of openStates) assert.ok(attemptTransitions[state].length > 0)
  for (const state of openOperationStates) assert.ok(operationTransitions[state].length > 0)
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
