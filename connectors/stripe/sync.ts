/**
 * What became of an authorization: the attempt's charges, found by their transfer group; of a verification, its
 * SetupIntent.
 *
 * Stripe's list is consistent at once, its search is not, so a search could miss a charge made just now.
 */
import {
  type Absent,
  type HttpRequest,
  type HttpResponse,
  type Outcome,
  parseJsonObject,
  type Sync,
  type SyncInput,
} from '@coffer/core/connector.ts'
import { arrayAt, booleanAt, isObject, type JsonObject, textAt } from '../answer-fields.ts'
import { isAbsenceFinal } from './absence.ts'
import { readHeaders } from './credentials.ts'
import { chargeOutcome, unknownOutcome } from './statuses.ts'
import { syncSetup } from './verify.ts'

export const sync: Sync = {
  request: (input, context) =>
    isVerification(input) ? syncSetup.request(input, context) : chargesOf(input.attempt_id),
  response: (response, input) =>
    isVerification(input) ? syncSetup.response(response, input) : syncResponse(response, input),
}

const isVerification = ({ amount }: SyncInput) => amount.amount_minor === 0n

const chargesOf = (attempt_id: string): HttpRequest => ({
  method: 'GET',
  path: `/v1/charges?transfer_group=${encodeURIComponent(attempt_id)}&limit=100`,
  headers: readHeaders(),
  body: null,
})

function syncResponse(response: HttpResponse, input: SyncInput): Outcome | Absent {
  if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
  const list = parseJsonObject(response.body)
  const charges = arrayAt(list, 'data')
  if (textAt(list, 'object') !== 'list' || charges === undefined) return unknownOutcome('unexpected_answer')
  const ours = charges.filter((charge): charge is JsonObject => isChargeOf(charge, input))
  // A list with another attempt's charges was not filtered as asked, and proves nothing.
  if (ours.length !== charges.length) return unknownOutcome('unexpected_answer')

  const byStatus = (status: string) => ours.filter((charge) => textAt(charge, 'status') === status)
  const succeeded = byStatus('succeeded')
  if (succeeded.length > 1) return unknownOutcome('several_charges_succeeded')
  if (booleanAt(list, 'has_more') === true && succeeded.length === 0) return unknownOutcome('list_incomplete')
  // Newest first: of several failed ones, the last word counts.
  const telling = succeeded[0] ?? byStatus('pending')[0] ?? ours[0]
  if (telling !== undefined) return chargeOutcome(telling, input)
  return { kind: 'absent', authoritative: isAbsenceFinal(input) }
}

/** Stripe saves the first answer of a key, a 500 too, and marks it where it gives it again. */
export function isSavedAnswer(response: HttpResponse): boolean {
  return response.headers['idempotent-replayed'] === 'true'
}

function isChargeOf(charge: JsonObject[string], input: SyncInput): boolean {
  return (
    isObject(charge) &&
    textAt(charge, 'object') === 'charge' &&
    textAt(charge, 'transfer_group') === input.attempt_id
  )
}
