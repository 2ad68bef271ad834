/** What became of an authorization: the payments that carry the attempt as their reference. */
import {
  type Absent,
  type HttpResponse,
  type Outcome,
  parseJsonObject,
  type Sync,
  type SyncInput,
} from '@coffer/core/connector.ts'
import { arrayAt, integerAt, isObject, type JsonObject, textAt } from '../answer-fields.ts'
import { readHeaders } from './credentials.ts'
import { paymentOutcome, unknownOutcome } from './statuses.ts'

/**
 * Nothing is sent twice, so after this long no request can be on its way any more, and what landed is in the list:
 * Checkout.com does not say how soon that is.
 */
const absentAfterHours = 1

export const sync: Sync = {
  request: (input) => ({
    method: 'GET',
    path: `/payments?limit=100&skip=0&reference=${encodeURIComponent(input.attempt_id)}`,
    headers: readHeaders(),
    body: null,
  }),
  response: syncResponse,
}

/** From what tells the most of an attempt to what tells the least. */
const ranks = [
  ['Captured', 'Authorized', 'Card Verified', 'Partially Captured', 'Partially Refunded', 'Refunded', 'Paid'],
  ['Pending', 'Retry Scheduled'],
]

function syncResponse(response: HttpResponse, input: SyncInput): Outcome | Absent {
  if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
  const list = parseJsonObject(response.body)
  const payments = arrayAt(list, 'data')
  const total_count = integerAt(list, 'total_count')
  if (payments === undefined || total_count === undefined) return unknownOutcome('unexpected_answer')
  const ours = payments.filter(
    (payment): payment is JsonObject =>
      isObject(payment) && textAt(payment, 'reference') === input.attempt_id,
  )
  // A list with another attempt's payments was not filtered as asked, and proves nothing.
  if (ours.length !== payments.length) return unknownOutcome('unexpected_answer')

  const [approved, pending] = ranks.map((statuses) =>
    ours.filter((payment) => statuses.includes(textAt(payment, 'status') ?? '')),
  )
  if (approved!.length > 1) return unknownOutcome('several_payments_approved')
  if (total_count !== ours.length && approved!.length === 0) return unknownOutcome('list_incomplete')
  // Newest first: of several that failed, the last word counts.
  const telling = approved![0] ?? pending![0] ?? ours[0]
  return telling === undefined
    ? { kind: 'absent', authoritative: isAbsenceFinal(input) }
    : paymentOutcome(telling, input)
}

function isAbsenceFinal({ sent_at, asked_at }: SyncInput): boolean {
  return asked_at.getTime() - sent_at.getTime() >= absentAfterHours * 3_600_000
}
