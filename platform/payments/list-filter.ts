/** What may be asked of the list of payments, and how it reads as ids: they begin with the time they were made. */
import { Failure } from '@coffer/core/errors.ts'
import { lowestIdAt } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { checkCursor, cursorParameter, limitOf, limitParameter } from '@coffer/core/pages.ts'
import { rfc3339 } from '@coffer/core/time.ts'
import { type Static, Type } from 'typebox'
import type { PaymentFilter } from './list-queries.ts'
import { type PaymentStatus, paymentTransitions } from './machine.ts'

const time = (description: string) =>
  Type.Optional(
    Type.String({
      pattern: rfc3339,
      description: `RFC 3339, to the millisecond. ${description}`,
    }),
  )

export const paymentListQuery = Type.Object(
  {
    reference: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: storableText })),
    card: Type.Optional(Type.String({ minLength: 1, maxLength: 100, pattern: storableText })),
    status: Type.Optional(Type.Enum(Object.keys(paymentTransitions))),
    created_after: time('Payments made later than this.'),
    created_before: time('Payments made earlier than this.'),
    cursor: cursorParameter,
    limit: limitParameter,
  },
  { additionalProperties: false },
)
export type PaymentListAsked = Static<typeof paymentListQuery>

/** @throws Failure invalid_request */
export function filterOf(asked: PaymentListAsked): PaymentFilter {
  const after = timeOf(asked.created_after, 'created_after')
  const before = timeOf(asked.created_before, 'created_before')
  const { cursor } = asked
  checkCursor('payment', cursor)
  const bounds = [
    // Behind every id there can be.
    'pay_~',
    ...(before === undefined ? [] : [lowestIdAt('payment', before)]),
    ...(cursor === undefined ? [] : [cursor]),
  ]
  return {
    reference: asked.reference ?? null,
    card_id: asked.card ?? null,
    status: (asked.status as PaymentStatus | undefined) ?? null,
    from_id: lowestIdAt('payment', after === undefined ? 0 : after + 1),
    before_id: bounds.reduce((least, bound) => (bound < least ? bound : least)),
    limit: limitOf(asked.limit),
  }
}

/** In milliseconds, none before 1970: no id is older. */
function timeOf(text: string | undefined, param: string): number | undefined {
  if (text === undefined) return undefined
  const time_ms = Date.parse(text)
  if (Number.isNaN(time_ms))
    throw new Failure('invalid_request', { param, detail: `${param} is not a time there is.` })
  return Math.max(time_ms, 0)
}
