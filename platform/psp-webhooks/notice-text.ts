/** Notices as text in the database: what was read in one, and the text it was read in, without card numbers. */
import { maskCardNumbers } from '@coffer/core/card-number-detector.ts'
import type { WebhookNotice } from '@coffer/core/connector.ts'

/** Free text, in which a person at the PSP may have written anything; all else are references, which stay. */
const freeText = new Set(['message', 'cause', 'reason', 'psp_code'])
const textLengthMax = 1_000

/** PostgreSQL keeps neither the character NUL nor half a surrogate pair. */
export const storable = (text: string) => text.replaceAll('\u0000', '\uFFFD').toWellFormed()

export function noticeText(notice: WebhookNotice): string {
  return JSON.stringify(notice, (name, value: unknown) => {
    if (typeof value === 'bigint') return String(value)
    if (typeof value !== 'string') return value
    const text = storable(value).slice(0, textLengthMax)
    return freeText.has(name) ? maskCardNumbers(text) : text
  })
}

/** Amounts are written as texts, because JSON has no whole numbers of any size. */
export function noticeOf(stored: unknown): WebhookNotice {
  return revived(stored) as WebhookNotice
}

function revived(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      name === 'amount_minor' ? BigInt(member as string) : revived(member),
    ]),
  )
}
