// The checkers of the crash tests find what they are there to find.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import type { LedgerRow } from '@coffer/simulators/control.ts'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import {
  checkChargesAndPayments,
  checkEventLog,
  checkPaymentsAreKept,
  checkStatuses,
  type LoggedEvent,
} from './checkers.ts'
import type { Call, Merchant } from './retrying-merchant.ts'

function paymentOf(fields: Partial<Payment> = {}): Payment {
  const amount = fields.status === undefined || fields.status === 'captured' ? 100 : 0
  return {
    ...{ id: 'pay_1', object: 'payment', status: 'captured', amount: 100, currency: 'EUR', card: 'card_1' },
    ...{ amount_authorized: amount, amount_captured: amount, amount_refunded: 0, capture: 'automatic' },
    ...{ initiator: 'customer', usage: null, agreement: null, operations: [], disputes: [], routing: null },
    retry: null,
    ...{ reference: 'order 1', metadata: {}, decline: null, failure: null, created_at: '', updated_at: '' },
    attempts: [
      {
        ...{ id: 'att_1', object: 'attempt', status: 'approved', connection: 'con_1', psp: 'stripe' },
        ...{ psp_reference: 'pi_1', network_transaction_id: null, transaction_link_id: null, parked: false },
        ...{ created_at: '', reason: 'routed', credential: 'card', decline: null, failure: null },
      },
    ],
    ...fields,
  }
}

function chargeOf(fields: Partial<LedgerRow> = {}): LedgerRow {
  return {
    ...{
      id: 'ch_1',
      psp_reference: 'pi_1',
      reference: 'att_1',
      amount: 100,
      currency: 'EUR',
      created_at: '',
    },
    ...{ status: 'succeeded', idempotency_key: null, amount_captured: 100, amount_refunded: 0 },
    refunds: [],
    ...fields,
  }
}

const eventsOf = (...types: string[]): LoggedEvent[] =>
  types.map((type, index) => ({
    id: `evt_${index}`,
    sequence: index + 1,
    type,
    object_id: type === 'card.created' ? 'card_1' : 'pay_1',
    data: { status: type === 'payment.created' ? 'processing' : type.split('.')[1] },
  }))

test('a payment that was charged once, and one that was declined, pass', () => {
  checkChargesAndPayments([chargeOf()], [paymentOf()])
  checkChargesAndPayments([chargeOf({ status: 'declined' })], [paymentOf({ status: 'declined' })])
})

test('a second charge, a charge that nobody was told of, and one that never was are found', () => {
  const found = (ledger: LedgerRow[], payment: Payment, message: RegExp) =>
    assert.throws(() => checkChargesAndPayments(ledger, [payment]), { message })
  found([chargeOf(), chargeOf({ id: 'ch_2' })], paymentOf(), /charged 2 times/)
  found([chargeOf()], paymentOf({ status: 'failed' }), /do not agree/)
  found([chargeOf()], paymentOf({ status: 'declined' }), /do not agree/)
  found([], paymentOf(), /do not agree/)
  found([], paymentOf({ status: 'unknown' }), /not settled/)
  found([chargeOf({ amount: 99 })], paymentOf(), /pay_1/)
  found([chargeOf({ status: 'authorized' })], paymentOf(), /pay_1/)
  found([chargeOf({ psp_reference: 'pi_2' })], paymentOf(), /pay_1/)
})

test('two payments that were both charged for one reference of the merchant are found', () => {
  const second = paymentOf({ id: 'pay_2', attempts: [{ ...paymentOf().attempts[0]!, id: 'att_2' }] })
  const ledger = [chargeOf(), chargeOf({ id: 'ch_2', reference: 'att_2' })]
  assert.throws(() => checkChargesAndPayments(ledger, [paymentOf(), second]), {
    message: /order 1: 2 charges/,
  })
})

test('a gap, a repeated event, and an event that is missing are found', () => {
  const cards = [{ id: 'card_1' } as Card]
  const whole = eventsOf('card.created', 'payment.created', 'payment.captured')
  checkEventLog(whole, [paymentOf()], cards)
  const found = (events: LoggedEvent[], message: RegExp) =>
    assert.throws(() => checkEventLog(events, [paymentOf()], cards), { message })
  found(whole.toSpliced(1, 1), /gap/)
  found([...whole, { ...whole[2]!, sequence: 4 }], /twice/)
  found(eventsOf('payment.created', 'payment.captured'), /card_1/)
  found(eventsOf('card.created', 'payment.captured'), /pay_1/)
  found(eventsOf('card.created', 'payment.created', 'payment.unknown'), /pay_1/)
})

test('a payment that leaves a final status, or was never created, is found', () => {
  checkStatuses(eventsOf('payment.created', 'payment.unknown', 'payment.captured'), [paymentOf()])
  for (const types of [
    ['payment.created', 'payment.failed', 'payment.captured'],
    ['payment.created', 'payment.captured', 'payment.captured'],
    ['payment.created', 'payment.captured', 'payment.late_success'],
  ])
    assert.throws(() => checkStatuses(eventsOf(...types), [paymentOf()]), { message: /→/ })
})

test('an acknowledged payment that is gone, or not what it was, is found', () => {
  const body = { amount: 100, currency: 'EUR', card: 'card_1', reference: 'order 1' }
  const told = { status: 201, text: JSON.stringify(paymentOf()) }
  const call: Call = { path: '/v1/payments', key: 'key', body, tries: 1, told }
  const merchant = { calls: [call] } as unknown as Merchant
  checkPaymentsAreKept(merchant, [paymentOf()])
  assert.throws(() => checkPaymentsAreKept(merchant, []), { message: /is lost/ })
  assert.throws(() => checkPaymentsAreKept(merchant, [paymentOf({ amount: 99 })]), {
    message: /another amount/,
  })
  assert.throws(() => checkPaymentsAreKept(merchant, [paymentOf({ status: 'declined' })]), {
    message: /has changed/,
  })
})

test('a refund that is there twice, was lost, or has failed and yet moved, is found', () => {
  const operation = { id: 'op_1', object: 'refund', status: 'succeeded', amount: 40, psp_reference: 're_1' }
  const refunded = (status: string) =>
    paymentOf({ amount_refunded: 40, operations: [{ ...operation, status }] as Payment['operations'] })
  const row = { id: 're_1', reference: 'op_1', amount: 40, idempotency_key: null }
  const charge = (...refunds: LedgerRow['refunds']) => chargeOf({ amount_refunded: 40, refunds })
  checkChargesAndPayments([charge(row)], [refunded('succeeded')])
  const wrong: [LedgerRow, Payment][] = [
    [charge(row, { ...row, id: 're_2' }), refunded('succeeded')],
    [charge(), refunded('succeeded')],
    [charge(row), refunded('failed')],
    [charge(row), refunded('unknown')],
    [chargeOf({ refunds: [row] }), refunded('succeeded')],
    [charge({ ...row, amount: 41 }), refunded('succeeded')],
  ]
  for (const [ledger, payment] of wrong) assert.throws(() => checkChargesAndPayments([ledger], [payment]))
})
