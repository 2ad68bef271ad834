/**
 * What is passed on of a destination's answer: text, without card data. The very values that were sent are taken
 * out however they are grouped, in names and values of JSON too, and whatever else looks like a card number. An
 * answer that holds a number in a form that cannot be taken out is withheld.
 */
import { looksLikeCardNumber, maskCardNumbers } from '@coffer/core/card-number-detector.ts'
import type { Answer } from './exchange.ts'
import type { MarkName } from './marks.ts'
import type { FailureCode, ForwardResponse } from './schemas.ts'
import type { MarkValues } from './sources.ts'

/** What was sent that must not come back. */
export type SentValues = { secrets: readonly SentSecret[]; cvc: string | undefined }
type SentSecret = { value: string; shown: string }

/** Of all that was filled in, what is secret. */
export function secretsOf(values: MarkValues): SentValues {
  const secrets = secretMarks.flatMap(([mark, shown]) => {
    const value = values[mark]
    return value === undefined || value.length < 4 ? [] : [{ value, shown }]
  })
  return { secrets, cvc: values['card.cvc'] }
}

const secretMarks: [MarkName, shown: string][] = [
  ['card.number', '[card number]'],
  ['token.iban', '[account]'],
  ['token.account_number', '[account]'],
  ['token.value', '[token]'],
]

export type PassedOn = { response: ForwardResponse; failure: FailureCode | undefined }

export function passedOn({ status, headers, body }: Answer, sent: SentValues): PassedOn {
  const passed = { status, headers: passedHeaders(headers, sent) }
  const without = (failure: FailureCode) => ({ response: { ...passed, body: null }, failure })
  if (body === undefined) return without('answer_too_large')
  const text = textOf(headers, body)
  if (text === undefined) return without('answer_not_text')
  const masked = maskBody(text, sent)
  if (holdsCoded(masked, sent)) return without('answer_withheld')
  return { response: { ...passed, body: masked }, failure: undefined }
}

/** That tell what the answer is, when to ask again, and by what to ask about it. */
const headerNames = new Set(
  `content-type content-language date etag last-modified location link retry-after allow idempotent-replayed
   stripe-should-retry pspreference v-c-correlation-id`.split(/\s+/),
)
const headerPattern =
  /^(?:x-)?rate-?limit(?:-[a-z]+){0,2}$|(?:^|-)(?:request|correlation|trace|debug|transaction|reference)-?id$/

function passedHeaders(headers: Answer['headers'], sent: SentValues): Record<string, string> {
  const passed: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || !(headerNames.has(name) || headerPattern.test(name))) continue
    const masked = maskText([value].flat().join(', '), sent)
    if (!holdsCoded(masked, sent)) passed[name] = masked
  }
  return passed
}

const textTypes =
  /^(?:text\/[\w.+-]+|application\/(?:json|xml|x-www-form-urlencoded|jose|javascript|[\w.-]+\+(?:json|xml)))$/

/** Undefined where it is not text, or not UTF-8. */
function textOf(headers: Answer['headers'], body: Buffer): string | undefined {
  if (body.length === 0) return ''
  const [type = '', ...parameters] = String(headers['content-type'] ?? 'text/plain').split(';')
  const encoding = String(headers['content-encoding'] ?? 'identity').toLowerCase()
  if (!textTypes.test(type.trim().toLowerCase()) || encoding !== 'identity') return undefined
  const charset = /charset="?([\w-]+)/i.exec(parameters.join(';'))?.[1]?.toLowerCase() ?? 'utf-8'
  if (!['utf-8', 'utf8', 'us-ascii', 'iso-8859-1'].includes(charset)) return undefined
  if (charset === 'iso-8859-1') return body.toString('latin1')
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    return undefined
  }
}

/** Writes a number as it was written. Not in TypeScript's library yet. */
const { rawJSON: rawJson } = JSON as unknown as { rawJSON(text: string): unknown }

function maskBody(text: string, sent: SentValues): string {
  let isMasked = false
  const mask = (value: string) => {
    const masked = maskText(value, sent)
    if (masked !== value) isMasked = true
    return masked
  }
  const masked = (_name: string, value: unknown, { source = '' }: { source?: string } = {}): unknown => {
    if (typeof value === 'string') return mask(value)
    // Numbers stay as they are written, however long they are.
    if (typeof value === 'number') return mask(source) === source ? rawJson(source) : mask(source)
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return value
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [mask(name), member]))
  }
  try {
    const json = JSON.stringify(JSON.parse(text, masked as (name: string, value: unknown) => unknown))
    return isMasked ? json : text
  } catch {
    return maskText(text, sent)
  }
}

function maskText(text: string, { secrets, cvc }: SentValues): string {
  let masked = text
  for (const { value, shown } of secrets)
    if (holdsPlainly(masked, value))
      masked = masked.replaceAll(isPlain(value) ? inAnyGrouping(value) : value, shown)
  // Wherever it stands by itself: that takes out honest values too, now and then.
  if (cvc !== undefined && masked.includes(cvc))
    masked = masked.replaceAll(new RegExp(`(?<![0-9])${cvc}(?![0-9])`, 'g'), '[cvc]')
  return looksLikeCardNumber(masked) ? maskCardNumbers(masked) : masked
}

const lettersAndDigits = (text: string) => text.replaceAll(/[^0-9A-Za-z]+/g, '').toLowerCase()
const isPlain = (value: string) => /^[0-9A-Za-z]{4,40}$/.test(value)

/** A quick look, whatever parts it: nearly no answer holds it, and a pattern is dear to make. */
function holdsPlainly(text: string, value: string): boolean {
  return isPlain(value) ? lettersAndDigits(text).includes(value.toLowerCase()) : text.includes(value)
}

/** Up to three characters may part two of its own. */
const inAnyGrouping = (value: string) => new RegExp([...value].join('[^0-9A-Za-z]{0,3}'), 'gi')

/** Whether one stands there in a form that programs write texts in: escaped, in base64 or hexadecimal. */
function holdsCoded(text: string, { secrets }: SentValues): boolean {
  const long = secrets.filter(({ value }) => value.length >= 8)
  const plain = unescaped(text)
  return long.some(
    ({ value }) => isCoded(text, Buffer.from(value)) || (plain !== text && holdsPlainly(plain, value)),
  )
}

function isCoded(text: string, bytes: Buffer): boolean {
  if (text.toLowerCase().includes(bytes.toString('hex'))) return true
  return [0, 1, 2].some((before) => {
    // Of base64 the characters that depend on these bytes alone, at each of the three places they may begin.
    const coded = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64')
    const end = Math.floor(((before + bytes.length) * 8) / 6)
    return text.includes(coded.slice(Math.ceil((before * 8) / 6), end))
  })
}

/** ASCII that a URL, JSON, JavaScript or XML escapes, as it reads. */
function unescaped(text: string): string {
  if (!/%[2-7]|&#|\\[ux]/i.test(text)) return text
  const character = (base: number) => (_escaped: string, code: string) =>
    String.fromCharCode(Number.parseInt(code, base))
  return text
    .replaceAll(/%([2-7][0-9a-f])/gi, character(16))
    .replaceAll(/(?:\\u00|\\x|&#x0*)([2-7][0-9a-f]);?/gi, character(16))
    .replaceAll(/&#0*([1-9][0-9]{1,2});?/g, character(10))
}
