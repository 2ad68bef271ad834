/**
 * Every failure Coffer answers with, in one table: code → status, title, whether the same request may be
 * sent again. `docs/errors.md` documents each one; a test compares the two both ways.
 */
type FailureEntry = { status: number; title: string; retryable: boolean }

export const failures = {
  invalid_request: { status: 400, title: 'A parameter is missing, unknown or malformed.', retryable: false },
  malformed_body: { status: 400, title: 'The body is not valid JSON.', retryable: false },
  malformed_request: { status: 400, title: 'The request is not valid HTTP.', retryable: false },
  card_number_in_wrong_field: {
    status: 400,
    title: 'A card number stands in a field that is not for card numbers.',
    retryable: false,
  },
  idempotency_key_required: {
    status: 400,
    title: 'This operation needs an Idempotency-Key header.',
    retryable: false,
  },
  idempotency_key_invalid: {
    status: 400,
    title: 'The Idempotency-Key header is malformed.',
    retryable: false,
  },
  unauthenticated: {
    status: 401,
    title: 'The API key is missing, unknown, expired or revoked.',
    retryable: false,
  },
  webhook_signature_invalid: {
    status: 401,
    title: 'No connection of that id takes a webhook with this signature.',
    retryable: false,
  },
  forbidden: {
    status: 403,
    title: 'The API key does not have the scope this operation needs.',
    retryable: false,
  },
  approval_required: {
    status: 403,
    title: 'This operation needs the approval of a second person.',
    retryable: false,
  },
  approval_not_granted: {
    status: 403,
    title: 'There is no approval for this operation by this caller.',
    retryable: false,
  },
  approval_needs_second_person: {
    status: 403,
    title: 'Nobody decides on what they asked for themselves.',
    retryable: false,
  },
  share_needs_another_person: {
    status: 403,
    title: 'Each share of the key has to be given by another person.',
    retryable: false,
  },
  person_required: {
    status: 403,
    title: 'Only a person who is signed in may do this.',
    retryable: false,
  },
  not_found: { status: 404, title: 'There is no such object.', retryable: false },
  route_not_found: { status: 404, title: 'There is no such route.', retryable: false },
  method_not_allowed: { status: 405, title: 'This route does not have that method.', retryable: false },
  request_timeout: { status: 408, title: 'The request did not arrive in time.', retryable: true },
  idempotency_key_in_use: {
    status: 409,
    title: 'A request with this Idempotency-Key is still running.',
    retryable: true,
  },
  connection_exists: { status: 409, title: 'A connection of that name exists already.', retryable: false },
  destination_exists: {
    status: 409,
    title: 'There is a destination with that origin and path already.',
    retryable: false,
  },
  user_exists: {
    status: 409,
    title: 'That person is a user of this deployment already.',
    retryable: false,
  },
  card_exists: {
    status: 409,
    title: 'There is a card with this number already.',
    retryable: false,
  },
  card_number_erased: {
    status: 409,
    title: 'The number of that version has been erased.',
    retryable: false,
  },
  key_rotation_running: {
    status: 409,
    title: 'A rotation of that kind of key is running already.',
    retryable: true,
  },
  secret_already_shown: {
    status: 409,
    title: 'This request was carried out, and its secret is told only once.',
    retryable: false,
  },
  last_admin_key: {
    status: 409,
    title: 'It is the last key of this merchant that can make others.',
    retryable: false,
  },
  approval_closed: {
    status: 409,
    title: 'The approval was decided already, or its time is over.',
    retryable: false,
  },
  approval_used: {
    status: 409,
    title: 'The approval was used for another operation.',
    retryable: false,
  },
  keys_not_in_shares: {
    status: 409,
    title: 'The wrapping key of this vault is not in shares.',
    retryable: false,
  },
  payment_state_invalid: {
    status: 409,
    title: 'The payment is not in a state that allows this.',
    retryable: false,
  },
  operation_in_progress: {
    status: 409,
    title: 'Another operation on this payment has not ended yet.',
    retryable: true,
  },
  retry_not_allowed: {
    status: 409,
    title: "The card networks' rules forbid to charge this card now.",
    retryable: true,
  },
  batch_state_invalid: {
    status: 409,
    title: 'The batch is not in a state that allows this.',
    retryable: false,
  },
  too_many_batches: {
    status: 409,
    title: 'This merchant has as many batches that have not ended as there may be.',
    retryable: true,
  },
  routing_changed: {
    status: 409,
    title: 'The routing is no longer what it was when it was read.',
    retryable: false,
  },
  routing_draft_missing: {
    status: 409,
    title: 'There is no draft of the routing to activate.',
    retryable: false,
  },
  import_state_invalid: { status: 409, title: 'The import has ended already.', retryable: false },
  import_file_not_expected: {
    status: 409,
    title: 'The import has its file, or another upload of it is under way.',
    retryable: true,
  },
  import_offset_wrong: {
    status: 409,
    title: 'The upload does not go on where it was interrupted.',
    retryable: false,
  },
  export_file_not_there: {
    status: 409,
    title: 'The file of the export is not ready yet, or was removed.',
    retryable: true,
  },
  keys_destroyed: {
    status: 410,
    title: "The keys of this merchant's data were destroyed.",
    retryable: false,
  },
  request_too_large: { status: 413, title: 'The request is too large.', retryable: false },
  unsupported_media_type: {
    status: 415,
    title: 'The content type is not one that this operation takes.',
    retryable: false,
  },
  idempotency_key_reused: {
    status: 422,
    title: 'This Idempotency-Key was used with another request body.',
    retryable: false,
  },
  share_invalid: {
    status: 422,
    title: 'It is no share of this key, or the shares do not make it.',
    retryable: false,
  },
  card_number_invalid: { status: 422, title: 'The card number is not valid.', retryable: false },
  bank_account_invalid: {
    status: 422,
    title: 'The number of the bank account is not valid.',
    retryable: false,
  },
  recipient_key_invalid: { status: 422, title: 'The public key cannot be encrypted to.', retryable: false },
  card_expired: { status: 422, title: 'The card has expired.', retryable: false },
  cvc_invalid: { status: 422, title: 'The CVC does not have the length this brand uses.', retryable: false },
  card_not_found: { status: 422, title: 'There is no such card.', retryable: false },
  card_not_active: { status: 422, title: 'The card is not active.', retryable: false },
  agreement_required: {
    status: 422,
    title: 'A merchant-initiated payment needs an agreement of the cardholder.',
    retryable: false,
  },
  agreement_not_found: { status: 422, title: 'There is no such agreement.', retryable: false },
  agreement_not_active: { status: 422, title: 'The agreement is not active.', retryable: false },
  agreement_of_another_card: {
    status: 422,
    title: 'The agreement is about another card.',
    retryable: false,
  },
  usage_not_agreed: { status: 422, title: 'The agreement is for another usage.', retryable: false },
  card_version_not_found: {
    status: 422,
    title: 'The card has no such version.',
    retryable: false,
  },
  currency_unknown: { status: 422, title: 'The currency is not an ISO 4217 code.', retryable: false },
  connection_not_found: {
    status: 422,
    title: 'There is no such connection, or none to route to.',
    retryable: false,
  },
  connection_disabled: { status: 422, title: 'That connection is disabled.', retryable: false },
  routing_invalid: {
    status: 422,
    title: 'The routing rules cannot be followed.',
    retryable: false,
  },
  amount_too_large: { status: 422, title: 'The amount is more than there is left.', retryable: false },
  operation_not_supported: {
    status: 422,
    title: 'The PSP of this payment does not have this operation.',
    retryable: false,
  },
  destination_not_allowed: { status: 422, title: 'That destination is not allowed.', retryable: false },
  cvc_unavailable: {
    status: 422,
    title: 'There is no CVC of this card: it is over, used, or was never given.',
    retryable: false,
  },
  mark_invalid: {
    status: 422,
    title: 'A mark is unknown, or stands where none can be filled.',
    retryable: false,
  },
  mark_unresolved: { status: 422, title: 'There is no value for a mark.', retryable: false },
  finishing_failed: {
    status: 422,
    title: 'The request cannot be finished as its destination wants it.',
    retryable: false,
  },
  client_certificate_invalid: {
    status: 422,
    title: 'The client certificate or its private key cannot be used.',
    retryable: false,
  },
  card_testing_suspected: {
    status: 429,
    title: 'Too many different cards were declined; customer-initiated payments are refused for a while.',
    retryable: true,
  },
  rate_limited: { status: 429, title: 'Too many requests in a short time.', retryable: true },
  headers_too_large: {
    status: 431,
    title: 'The address and headers together are too large.',
    retryable: false,
  },
  internal_error: { status: 500, title: 'Something went wrong on our side.', retryable: true },
  overloaded: { status: 503, title: 'Too much is going on; try again shortly.', retryable: true },
  unavailable: { status: 503, title: 'A part this operation needs is not available.', retryable: true },
  vault_sealed: {
    status: 503,
    title: 'The vault is sealed: its custodians have not given their shares of the key yet.',
    retryable: true,
  },
  keys_unavailable: {
    status: 503,
    title: 'The key provider does not open the keys that this needs.',
    retryable: true,
  },
  outcome_unknown: {
    status: 503,
    title: 'The result was not confirmed; send the same request with the same Idempotency-Key.',
    retryable: true,
  },
} as const satisfies Record<string, FailureEntry>

export type FailureCode = keyof typeof failures

/** Which rule forbids a charge, and until when; null where waiting does not help. */
export type RetryRefused = { rule: string; retry_after: string | null }

/** A failure with a code from the table. `detail` and `param` are public: they must never carry a secret. */
export class Failure extends Error {
  readonly code: FailureCode
  readonly param: string | undefined
  readonly detail: string | undefined
  readonly retryAfterSeconds: number | undefined
  readonly retry: RetryRefused | undefined

  constructor(
    code: FailureCode,
    options: {
      param?: string
      detail?: string
      retryAfterSeconds?: number
      retry?: RetryRefused
      cause?: unknown
    } = {},
  ) {
    super(options.detail ?? failures[code].title, { cause: options.cause })
    this.name = 'Failure'
    this.code = code
    this.param = options.param
    this.detail = options.detail
    this.retry = options.retry
    this.retryAfterSeconds = options.retryAfterSeconds ?? (failures[code].status === 503 ? 1 : undefined)
  }
}

/** RFC 9457 problem details, as they leave the process. */
export type Problem = {
  type: string
  title: string
  status: number
  detail?: string
  code: FailureCode
  param?: string
  request_id: string
  retryable: boolean
} & Partial<RetryRefused>

export function problemOf(failure: Failure, requestId: string): Problem {
  const entry = failures[failure.code]
  return {
    type: `urn:coffer:error:${failure.code}`,
    title: entry.title,
    status: entry.status,
    ...(failure.detail === undefined ? {} : { detail: failure.detail }),
    code: failure.code,
    ...(failure.param === undefined ? {} : { param: failure.param }),
    request_id: requestId,
    retryable: entry.retryable,
    ...failure.retry,
  }
}
