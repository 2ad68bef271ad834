/** Moments as clients send them: RFC 3339, with an offset, to the millisecond. */
import { Type } from 'typebox'
import { Failure } from './errors.ts'

export const timestampText = Type.String({
  format: 'date-time',
  maxLength: 40,
  description: 'RFC 3339, for example 2030-01-31T12:00:00Z.',
})

const earliestMs = Date.UTC(1970, 0, 1)
/** The last year that is written with four digits, in every time zone. */
const latestMs = Date.UTC(9999, 11, 30)

/** @throws Failure invalid_request for one that cannot be kept: a leap second, or outside of 1970 to 9999. */
export function momentOf(text: string, param: string): Date {
  const moment = new Date(text)
  // What is no moment is not a number, and fails this too.
  if (!(moment.getTime() >= earliestMs && moment.getTime() <= latestMs))
    throw new Failure('invalid_request', { param, detail: 'It must be a moment from 1970 to 9999.' })
  return moment
}
