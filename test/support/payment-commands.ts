/** What can be done to payments, as commands of fast-check: each to the model and to the product. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Operation, Payment } from '@coffer/platform/payments/schemas.ts'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import fc from 'fast-check'
import {
  apply,
  arrange,
  bodyOf,
  type Expected,
  expected,
  type FaultKind,
  faults,
  freshNumber,
  type Kind,
  leftFor,
  type Model,
  type Portion,
  pathOf,
  type Real,
  send,
  settle,
  shown,
} from './payment-model.ts'
import type { Told } from './retrying-merchant.ts'

const refusals = ['payment_state_invalid', 'amount_too_large', 'operation_not_supported']
const codeOf = ({ text }: Told) => (JSON.parse(text) as { code?: string }).code ?? ''

abstract class PaymentCommand implements fc.AsyncCommand<Model, Real> {
  check(model: Readonly<Model>): boolean {
    return model.payments.length > 0
  }
  abstract run(model: Model, real: Real): Promise<void>
  abstract toString(): string
}

const chosen = (model: Model, place: number) => model.payments[place % model.payments.length]!

class Pay extends PaymentCommand {
  readonly amount: number
  readonly capture: 'automatic' | 'manual'
  readonly fault: FaultKind
  readonly account: number
  constructor(amount: number, capture: 'automatic' | 'manual', fault: FaultKind, account: number) {
    super()
    this.amount = amount
    this.capture = capture
    this.fault = fault
    this.account = account
  }
  override check(): boolean {
    return true
  }
  async run(model: Model, real: Real): Promise<void> {
    const { amount, capture, fault } = this
    const number = freshNumber()
    const made = await send(real, '/v1/cards', { number, exp_month: 12, exp_year: 2049 })
    assert.equal(made.status, 201, made.text)
    const { id: card } = JSON.parse(made.text) as Card
    const last4 = number.slice(-4)
    await arrange(real, fault, amount === 0 ? '/v1/setup_intents' : '/v1/payment_intents', last4)
    const connection = real.connections[this.account % real.connections.length]!
    const body = {
      amount,
      capture,
      card,
      currency: 'EUR',
      connection: connection.id,
      reference: randomUUID(),
    }
    const told = await send(real, '/v1/payments', body)
    assert.ok(told.status === 201 || told.status === 202, `${told.status} ${told.text}`)
    const { id } = JSON.parse(told.text) as Payment
    const isApproved = faults[fault]
    const approved = amount === 0 ? 'verified' : capture === 'automatic' ? 'captured' : 'authorized'
    const status = isApproved ? approved : fault === 'decline' ? 'declined' : 'failed'
    const authorized = isApproved ? amount : 0
    const captured = status === 'captured' ? amount : 0
    const fresh = { refunded: 0, is_final: status === 'captured', is_open: told.status === 202 }
    const payment: Expected = { id, connection, last4, amount, status, authorized, captured, ...fresh }
    if (!payment.is_open && !real.is_killed)
      assert.deepEqual(shown(JSON.parse(told.text) as Payment), expected(payment), told.text)
    model.payments.push(payment)
    if (real.is_killed && !payment.is_open) await settle(real, payment)
  }
  override toString(): string {
    return `pay(${this.amount}, ${this.capture}, ${this.fault}, account ${this.account})`
  }
}

class Operate extends PaymentCommand {
  readonly kind: Kind
  readonly place: number
  readonly portion: Portion
  readonly fault: FaultKind
  readonly final: boolean | undefined
  constructor(kind: Kind, place: number, portion: Portion, fault: FaultKind, final: boolean | undefined) {
    super()
    this.kind = kind
    this.place = place
    this.portion = portion
    this.fault = fault
    this.final = final
  }
  async run(model: Model, real: Real): Promise<void> {
    const payment = chosen(model, this.place)
    const { kind } = this
    const left = leftFor(kind, payment)
    const isTooMuch = this.portion === 'too_much' && (kind === 'refunds' || kind === 'capture')
    const final = kind === 'capture' ? this.final : undefined
    const isNotKept = final === false && !payment.connection.several_captures
    const isRefused = left === undefined || isTooMuch || isNotKept
    const canBeDeclined = kind === 'increments' && payment.connection.increments
    const fault =
      isRefused || payment.is_open || (this.fault === 'decline' && !canBeDeclined) ? 'none' : this.fault
    if (kind !== 'increments' || payment.connection.increments)
      await arrange(real, fault, pathOf(kind), payment.last4)
    const body = { ...bodyOf(kind, this.portion, left ?? 1), ...(final !== undefined && { final }) }
    const told = await send(real, `/v1/payments/${payment.id}/${kind}`, body)
    if (told.status >= 400) {
      assert.ok(refusals.includes(codeOf(told)), `${told.status} ${told.text}`)
      assert.ok(isRefused || payment.is_open || real.is_killed, `refused: ${told.text}`)
      return
    }
    assert.ok(!isRefused || payment.is_open, `it was not refused: ${told.text}`)
    const operation = JSON.parse(told.text) as Operation
    const isCarriedOut = (kind !== 'increments' || payment.connection.increments) && faults[fault]
    if (isCarriedOut) apply(kind, payment, operation)
    if (told.status === 202) payment.is_open = true
    else if (!real.is_killed) assert.equal(operation.status, isCarriedOut ? 'succeeded' : 'failed', told.text)
    if (real.is_killed) await settle(real, payment)
  }
  override toString(): string {
    return `${this.kind}(${this.place}, ${this.portion}, ${this.fault}, final ${this.final})`
  }
}

/** Several at once: what each is allowed is never more than there is. */
class AtOnce extends PaymentCommand {
  readonly kind: Kind
  readonly place: number
  readonly percent: number
  constructor(kind: Kind, place: number, percent: number) {
    super()
    this.kind = kind
    this.place = place
    this.percent = percent
  }
  async run(model: Model, real: Real): Promise<void> {
    const payment = chosen(model, this.place)
    const { kind } = this
    const left = leftFor(kind, payment)
    if (payment.is_open || left === undefined || (kind === 'increments' && !payment.connection.increments))
      return
    const body = bodyOf(kind, this.percent, left)
    const all = await Promise.all(
      [1, 2, 3].map(() => send(real, `/v1/payments/${payment.id}/${kind}`, { ...body })),
    )
    const taken = all.filter(({ status }) => status < 300)
    for (const told of all)
      if (told.status >= 300) assert.ok(refusals.includes(codeOf(told)), `${told.status} ${told.text}`)
    for (const { status, text } of taken) {
      apply(kind, payment, JSON.parse(text) as Operation)
      if (status === 202) payment.is_open = true
    }
    assert.ok(payment.captured <= payment.authorized && payment.refunded <= payment.captured)
    if (!real.is_killed) assert.ok(taken.length > 0, all[0]!.text)
    if (kind === 'cancel') assert.ok(taken.length <= 1)
    if (real.is_killed) await settle(real, payment)
  }
  override toString(): string {
    return `three at once of ${this.kind}(${this.place}, ${this.percent})`
  }
}

class Settle extends PaymentCommand {
  readonly place: number
  constructor(place: number) {
    super()
    this.place = place
  }
  run(model: Model, real: Real): Promise<void> {
    return settle(real, chosen(model, this.place))
  }
  override toString(): string {
    return `settle(${this.place})`
  }
}

/** The same key with the same body, and with another. */
class Repeat extends PaymentCommand {
  readonly place: number
  constructor(place: number) {
    super()
    this.place = place
  }
  async run(_model: Model, real: Real): Promise<void> {
    const call = real.calls[this.place % real.calls.length]!
    assert.deepEqual(await real.merchant.insist({ ...call, told: undefined }), call.told)
    const changed = call.path === '/v1/cards' ? { exp_year: 2048 } : { amount: 987_654 }
    if (call.path.endsWith('/cancel')) return
    const other = await real.merchant.tryOtherBody(call, { ...call.body, ...changed })
    if (other !== undefined && other.status < 500)
      assert.equal(codeOf(other), 'idempotency_key_reused', other.text)
    else assert.ok(real.is_killed, other?.text ?? 'no answer')
  }
  override toString(): string {
    return `repeat(${this.place})`
  }
}

const place = fc.nat(20)
/** Most requests meet no fault; those that cost seconds are the fewest. */
const fault: fc.Arbitrary<FaultKind> = fc.oneof(
  { weight: 30, arbitrary: fc.constant('none' as const) },
  {
    weight: 9,
    arbitrary: fc.constantFrom<FaultKind>('slow', 'server_error_before', 'rate_limit', 'decline'),
  },
  { weight: 4, arbitrary: fc.constantFrom<FaultKind>('reset_before', 'reset_after', 'server_error_after') },
  { weight: 2, arbitrary: fc.constantFrom<FaultKind>('hang_before', 'hang_after', 'late') },
)
const kind = fc.constantFrom<Kind>('capture', 'capture', 'refunds', 'refunds', 'increments', 'cancel')
const portion: fc.Arbitrary<Portion> = fc.oneof(
  fc.integer({ min: 1, max: 99 }),
  fc.constantFrom('all' as const, 'too_much' as const),
)
const amount = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0) },
  { weight: 9, arbitrary: fc.integer({ min: 50, max: 99_999 }) },
)
const final = fc.constantFrom(undefined, undefined, true, false)

export function paymentCommands(maxCommands: number) {
  const commands = [
    fc.tuple(
      amount,
      fc.constantFrom('automatic' as const, 'manual' as const, 'manual' as const),
      fault,
      fc.nat(1),
    ),
    fc.tuple(kind, place, portion, fault, final),
  ] as const
  return fc.commands<Model, Real, false>(
    [
      commands[0].map((args) => new Pay(...args)),
      commands[1].map((args) => new Operate(...args)),
      commands[1].map((args) => new Operate(...args)),
      fc.tuple(kind, place, fc.integer({ min: 1, max: 60 })).map((args) => new AtOnce(...args)),
      place.map((at) => new Settle(at)),
      place.map((at) => new Repeat(at)),
    ],
    { size: 'max', maxCommands },
  )
}

/** One sequence, and then everything of it settled, as the model says. */
export async function runSequence(
  real: Omit<Real, 'calls'>,
  commands: Iterable<fc.AsyncCommand<Model, Real>>,
) {
  const model: Model = { payments: [] }
  await fc.asyncModelRun(() => ({ model, real: { ...real, calls: [] } }), commands)
  await Promise.all(model.payments.map((payment) => settle({ ...real, calls: [] }, payment)))
}
