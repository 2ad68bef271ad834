/** Reads a request's body. Like Checkout.com, it names everything that is wrong at once. */
import { brandOf, isCardNumber } from '../card-networks.ts'
import type { Call } from './call.ts'
import { isRefusedAmount, scenarioOf } from './cards.ts'
import { CheckoutError, invalid } from './errors.ts'
import type { Metadata, Payment, Source } from './state.ts'

type Fields = Record<string, unknown>

export type BodyReader = ReturnType<typeof readBody>

const isRecord = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** @throws CheckoutError where the body is no object. */
export function readBody(call: Call) {
  const body = call.body ?? {}
  if (!isRecord(body)) throw invalid('request_body_malformed')
  return readerOf(body, [])
}

function readerOf(fields: Fields, errors: string[]) {
  const wrong = (code: string) => void errors.push(code)
  return {
    wrong,
    within: (name: string) => readerOf(isRecord(fields[name]) ? fields[name] : {}, errors),
    has: (name: string) => fields[name] !== undefined && fields[name] !== null,
    text(name: string, lengthMax: number, code = `${name}_invalid`): string | null {
      const value = fields[name] ?? null
      if (value === null || (typeof value === 'string' && value.length <= lengthMax)) return value
      wrong(code)
      return null
    },
    oneOf<Choice extends string>(name: string, choices: readonly Choice[], usual: Choice): Choice {
      const value = fields[name] ?? usual
      const found = choices.find((choice) => choice === value)
      if (found === undefined) wrong(`${name}_invalid`)
      return found ?? usual
    },
    integer(name: string, least: number, most: number, code = `${name}_invalid`): number | null {
      const value = fields[name] ?? null
      if (value === null) return null
      if (Number.isInteger(value) && Number(value) >= least && Number(value) <= most) return Number(value)
      wrong(code)
      return null
    },
    boolean(name: string, usual: boolean): boolean {
      const value = fields[name] ?? usual
      if (typeof value !== 'boolean') wrong(`${name}_invalid`)
      return value === true
    },
    /** One level deep, primitive values. */
    metadata(): Metadata {
      const value = fields['metadata'] ?? {}
      const isFlat =
        isRecord(value) &&
        Object.values(value).every((each) => ['string', 'number', 'boolean'].includes(typeof each))
      if (!isFlat) wrong('metadata_invalid')
      return isFlat ? (value as Metadata) : {}
    },
    end(): void {
      if (errors.length > 0) throw new CheckoutError(422, ...new Set(errors))
    },
  }
}

/** Amounts have at most nine digits. */
export const amountMax = 999_999_999
const threeDecimal = new Set('BHD IQD JOD KWD LYD OMR TND'.split(' '))

export function readAmount(reader: BodyReader, currency: string): number | null {
  const amount = reader.integer('amount', 0, amountMax)
  const step = threeDecimal.has(currency) ? 10 : currency === 'CLP' ? 100 : 1
  if (amount !== null && amount % step !== 0) reader.wrong('amount_invalid')
  return amount
}

export function readCurrency(reader: BodyReader): string {
  const currency = reader.text('currency', 3) ?? ''
  if (!reader.has('currency')) reader.wrong('currency_required')
  else if (!/^[A-Z]{3}$/.test(currency)) reader.wrong('currency_invalid')
  return currency
}

/** The card of a payment: a new one, or one that was kept. */
export function readSource(call: Call, reader: BodyReader): Source | null {
  const source = reader.within('source')
  const type = source.text('type', 30, 'source_type_invalid')
  if (!reader.has('source')) reader.wrong('source_required')
  else if (type === 'card') return readCard(call, source)
  else if (type === 'id') {
    const kept = call.state.get('source', call.account, source.text('id', 100, 'source_id_invalid') ?? '')
    if (kept === undefined) reader.wrong('source_id_unknown')
    return kept ?? null
  } else reader.wrong('source_type_invalid')
  return null
}

function readCard(call: Call, source: BodyReader): Source | null {
  const number = source.text('number', 19, 'card_number_invalid') ?? ''
  const expiry_month = source.integer('expiry_month', 1, 12, 'card_expiry_month_invalid')
  const expiry_year = source.integer('expiry_year', 1000, 9999, 'card_expiry_year_invalid')
  const name = source.text('name', 255, 'card_holder_invalid')
  const cvv = source.text('cvv', 4, 'cvv_invalid')
  source.boolean('stored', false)
  if (!source.has('number')) source.wrong('card_number_required')
  else if (!isCardNumber(number)) source.wrong('card_number_invalid')
  if (!source.has('expiry_month')) source.wrong('card_expiry_month_required')
  if (!source.has('expiry_year')) source.wrong('card_expiry_year_required')
  if (cvv !== null && !/^\d{3,4}$/.test(cvv)) source.wrong('cvv_invalid')
  if (expiry_month === null || expiry_year === null) return null
  if (Date.UTC(expiry_year, expiry_month) <= call.now_ms) source.wrong('card_expired')
  const fingerprint = call.fingerprint(`${call.account} ${number}`)
  return {
    kind: 'source',
    id: `src_${fingerprint}`,
    account: call.account,
    bin: number.slice(0, 6),
    last4: number.slice(-4),
    scheme: brandOf(number),
    expiry_month,
    expiry_year,
    name,
    fingerprint,
    scenario: scenarioOf(number),
    refuses_101: isRefusedAmount(number, 101),
  }
}

const paymentTypes = ['Regular', 'Recurring', 'MOTO', 'Installment', 'Unscheduled'] as const

/** What else a payment's request says. */
export function readOptions(reader: BodyReader) {
  if (reader.within('3ds').boolean('enabled', false)) reader.wrong('3ds_not_supported')
  reader.text('processing_channel_id', 100)
  return {
    capture: reader.boolean('capture', true),
    options: {
      payment_type: reader.oneOf('payment_type', paymentTypes, 'Regular'),
      merchant_initiated: reader.boolean('merchant_initiated', false),
      authorization_type: reader.oneOf<'Final' | 'Estimated'>(
        'authorization_type',
        ['Final', 'Estimated'],
        'Final',
      ),
      reference: reader.text('reference', 50),
      description: reader.text('description', 100),
      previous_payment_id: reader.text('previous_payment_id', 100),
      metadata: reader.metadata(),
    } satisfies Partial<Payment>,
  }
}
