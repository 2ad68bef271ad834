/**
 * Marks in a merchant's own request: `{{card.number}}`, or with a filter `{{card.exp_year | two_digits}}`. Every
 * double brace opens a mark: what is none that we know is refused, so nothing is ever sent with a mark left in it.
 */
import { looksLikeCardNumber } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'

export const cardMarks = [
  'card.number',
  'card.exp_month',
  'card.exp_year',
  'card.cvc',
  'card.cardholder_name',
  'card.billing_address.line1',
  'card.billing_address.line2',
  'card.billing_address.city',
  'card.billing_address.state',
  'card.billing_address.postal_code',
  'card.billing_address.country',
] as const
/** Which of them a token has depends on its type. */
export const tokenMarks = [
  'token.iban',
  'token.routing_number',
  'token.account_number',
  'token.account_type',
  'token.holder_name',
  'token.country',
  'token.value',
] as const
export type MarkName = (typeof cardMarks)[number] | (typeof tokenMarks)[number]

/** Where a mark stands, which decides how its value is escaped. */
export type MarkPlace = 'path' | 'query' | 'headers' | 'body'

export type Mark = { name: MarkName; filter: string | undefined }

/** What a mark stands for. */
export type Resolve = (mark: Mark, place: MarkPlace) => string

const filters: Record<string, (value: string) => string> = {
  /** 2030 is 30. */
  two_digits: (value) => value.slice(-2),
}
const filterOf: Partial<Record<MarkName, readonly string[]>> = {
  'card.exp_year': ['two_digits'],
  'card.exp_month': ['two_digits'],
}

const known: ReadonlySet<string> = new Set([...cardMarks, ...tokenMarks])
const markPattern = /\{\{([^{}]*)\}\}/g

export const holdsMark = (text: string) => text.includes('{{')

/** @throws Failure mark_invalid for a mark or filter that there is not, and for braces that are no mark. */
export function replaceMarks(text: string, param: string, replace: (mark: Mark) => string): string {
  if (!holdsMark(text)) return text
  if (holdsMark(text.replace(markPattern, '')))
    throw invalidMark(param, 'Braces are opened that are no mark.')
  return text.replace(markPattern, (_whole, inside: string) => replace(markOf(inside, param)))
}

/** The marks of a text, in their order. */
export function marksIn(text: string, param: string): Mark[] {
  const found: Mark[] = []
  replaceMarks(text, param, (mark) => {
    found.push(mark)
    return ''
  })
  return found
}

function markOf(inside: string, param: string): Mark {
  const [, name, filter] = /^\s*([a-z0-9_.]+)\s*(?:\|\s*([a-z0-9_]+)\s*)?$/.exec(inside) ?? []
  if (name === undefined || !known.has(name))
    throw invalidMark(param, `There is no mark ${shown(name ?? inside)}.`)
  if (filter !== undefined && !filterOf[name as MarkName]?.includes(filter))
    throw invalidMark(param, `${name} has no filter ${shown(filter)}.`)
  return { name: name as MarkName, filter }
}

/** Named as far as it could be the name of a mark. */
function shown(text: string): string {
  return /^[\w. |-]{1,60}$/.test(text) && !looksLikeCardNumber(text) ? `{{${text.trim()}}}` : 'of that name'
}

/** The value as the mark's filter leaves it. */
export function filtered({ filter }: Mark, value: string): string {
  return filter === undefined ? value : filters[filter]!(value)
}

export function invalidMark(param: string, detail: string): Failure {
  return new Failure('mark_invalid', { param, detail })
}

export function unresolvedMark(param: string, { name }: Mark, why: string): Failure {
  return new Failure('mark_unresolved', { param, detail: `{{${name}}}: ${why}` })
}
