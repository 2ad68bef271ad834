/** A row of a file becomes a card to be kept, or the reason why it is none: a code and a field, never a value. */
import type { Brand } from '@coffer/core/card-brands.ts'
import { looksLikeCardNumber, refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure, type FailureCode } from '@coffer/core/errors.ts'
import { Compile } from 'typebox/compile'
import { binOf } from '../cards/brands.ts'
import { type Card, type NewCard, newCard } from '../cards/schemas.ts'
import { validateNewCard } from '../cards/validation.ts'
import type { Fields } from './mappings/mapping.ts'

export type Invalid = { code: FailureCode; param: string }

export type ReadRow =
  | {
      ok: true
      source_id: string
      card: NewCard
      brand: Brand
      bin: string
      network_transaction_id: string | null
      psp_reference: string | null
      status: Card['status']
    }
  | { ok: false; source_id: string | null; invalid: Invalid }

const schema = Compile(newCard)
const textMax = 255

/** The same rules as for a card that is sent by itself. `keepExpired` lets those through whose time is over. */
export function readRow(fields: Fields, options: { now: Date; keepExpired: boolean }): ReadRow {
  const sourceId = fields.source_id
  const isNumber = sourceId !== undefined && looksLikeCardNumber(sourceId)
  const shownId = isPlainText(sourceId) && !isNumber ? sourceId : null
  const refused = (code: FailureCode, param: string): ReadRow => ({
    ok: false,
    source_id: shownId,
    invalid: { code, param },
  })
  if (isNumber) return refused('card_number_in_wrong_field', 'source_id')
  if (shownId === null) return refused('invalid_request', 'source_id')
  const card = newCardOf(fields)
  if (card.number !== '' && shownId.includes(card.number)) {
    const invalid = { code: 'card_number_in_wrong_field', param: 'source_id' } as const
    return { ok: false, source_id: null, invalid }
  }
  if (!schema.Check(card)) return refused('invalid_request', wrongField(card))
  const { status = 'active' } = fields
  if (!isStatus(status)) return refused('invalid_request', 'status')
  try {
    const brand = validateNewCard(card, options.keepExpired ? beforeExpiry(card, options.now) : options.now)
    for (const name of ['network_transaction_id', 'psp_reference'] as const) {
      if (fields[name] === undefined) continue
      if (!isPlainText(fields[name])) return refused('invalid_request', name)
      if (fields[name].includes(card.number)) return refused('card_number_in_wrong_field', name)
      if (!isNetworkId(name, fields[name])) refuseCardNumberIn(name, fields[name])
    }
    return {
      ok: true,
      source_id: shownId,
      card,
      brand,
      bin: binOf(brand, card.number),
      network_transaction_id: fields.network_transaction_id ?? null,
      psp_reference: fields.psp_reference ?? null,
      status,
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return refused(error.code, error.param ?? 'number')
  }
}

const isStatus = (text: string): text is Card['status'] =>
  text === 'active' || text === 'closed' || text === 'contact_cardholder'

function isPlainText(text: string | undefined): text is string {
  return text !== undefined && text.length <= textMax && text.isWellFormed() && !text.includes('\0')
}

/** Visa's and American Express's have 15 digits, and one in ten of them passes the check of card numbers. */
const isNetworkId = (name: string, text: string) => name === 'network_transaction_id' && /^\d{15}$/.test(text)

/** A moment at which that card was still good. */
const beforeExpiry = (card: NewCard, now: Date) =>
  new Date(Math.min(now.getTime(), Date.UTC(card.exp_year, card.exp_month - 1, 1)))

function newCardOf(fields: Fields): NewCard {
  const expiry = expiryOf(fields)
  const name =
    fields.cardholder_name ?? ([fields.first_name, fields.last_name].filter(Boolean).join(' ') || undefined)
  const { line1, line2, city, state, postal_code, country } = fields
  const address = withoutUndefined({
    line1,
    line2,
    city,
    state,
    postal_code,
    country: country?.toUpperCase(),
  })
  const hasMetadata = Object.keys(fields.metadata).length > 0
  return withoutUndefined({
    number: (fields.number ?? '').replaceAll(/[ -]/g, ''),
    exp_month: expiry.month,
    exp_year: expiry.year,
    cardholder_name: name,
    customer: fields.customer,
    billing_address: Object.keys(address).length > 0 ? address : undefined,
    metadata: hasMetadata ? fields.metadata : undefined,
  }) as NewCard
}

function withoutUndefined<Value extends object>(value: Value): Value {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as Value
}

/** Month and year in two fields, or in one as MM/YYYY, MMYYYY, MM/YY, MMYY or YYYY-MM. NaN where there is none. */
function expiryOf(fields: Fields): { month: number; year: number } {
  const { exp_month, exp_year, exp } = fields
  if (exp_month !== undefined || exp_year !== undefined)
    return { month: wholeNumber(exp_month, 2), year: fullYear(exp_year) }
  const [, yearFirst, monthAfter] = /^(\d{4})-(\d{1,2})$/.exec(exp ?? '') ?? []
  if (yearFirst !== undefined) return { month: wholeNumber(monthAfter, 2), year: fullYear(yearFirst) }
  const [, month, year] = /^(\d{1,2})[/-]?(\d{2}|\d{4})$/.exec(exp ?? '') ?? []
  return { month: wholeNumber(month, 2), year: fullYear(year) }
}

function wholeNumber(text: string | undefined, digitsMax: number): number {
  return text !== undefined && /^\d+$/.test(text) && text.length <= digitsMax ? Number(text) : Number.NaN
}

function fullYear(text: string | undefined): number {
  const year = wholeNumber(text, 4)
  return year < 100 && text!.length === 2 ? 2000 + year : year
}

/** The outermost field that the schema does not take. */
function wrongField(card: NewCard): string {
  const [first] = schema.Errors(card)
  const path = first?.instancePath.slice(1).split('/') ?? []
  if (path[0] === 'billing_address' && path[1] !== undefined) return `billing_address.${path[1]}`
  return path[0] ?? 'number'
}
