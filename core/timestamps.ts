/** Moments as clients send them: RFC 3339, with an offset, to the millisecond. */
import { Type } from 'typebox'
import { Failure } from './errors.ts'

export const timestampText = Type.String({
  format: 'date-time',
  maxLength: 40,
  description: 'RFC 3339, for example 2030-01-31T12:00:00Z.',
})

/** @throws Failure invalid_request for a moment that no clock shows, such as a leap second. */
export function momentOf(text: string, param: string): Date {
  const moment = new Date(text)
  if (Number.isNaN(moment.getTime()))
    throw new Failure('invalid_request', { param, detail: 'There is no such moment.' })
  return moment
}
