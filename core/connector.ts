/**
 * The contract between the payments engine and one payment service provider (PSP).
 *
 * A connector is pure: it turns an input into an HTTP request that carries marks instead of card data and
 * secrets, and an HTTP answer into an Outcome. The vault fills the marks, chooses the host and sends.
 */
import type { Money } from './money.ts'

/**
 * A place the vault fills just before sending, written as `{{card.number}}` inside a value. A question mark
 * before the braces close (`{{card.cvc?}}`) makes it optional: a form field or JSON property whose whole
 * value is an optional mark is left out when the vault has nothing to put there. Of the marks that end in
 * `_number` a JSON value is made that is no text: for PSPs that take no other.
 */
export const marks = [
  'card.number',
  'card.exp_month',
  'card.exp_month_number',
  'card.exp_year',
  'card.exp_year_number',
  'card.cvc',
  'card.cardholder_name',
  'card.billing_address.line1',
  'card.billing_address.line2',
  'card.billing_address.city',
  'card.billing_address.state',
  'card.billing_address.postal_code',
  'card.billing_address.country',
  'connection.secret',
] as const
export type Mark = (typeof marks)[number]

export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue }

/** What to send, relative to the connection's base URL, which only the vault knows. */
export type HttpRequest = {
  method: 'GET' | 'POST'
  /** Starts with `/`; the query string belongs to it. */
  path: string
  /** Lower-case names. The vault adds host, content-type and content-length. */
  headers: Record<string, string>
  body: { form: [name: string, value: string][] } | { json: JsonValue } | null
}

/** A PSP's answer after masking: no card number and no secret is left in it. */
export type HttpResponse = {
  status: number
  /** Lower-case names, only those the vault passes on. */
  headers: Record<string, string>
  body: string
}

/** What a connector may know of the merchant's account at the PSP: never a secret, never the host. */
export type Account = {
  connection_id: string
  settings: Record<string, string>
}

export type StepContext = {
  account: Account
  /** Ours, stable for this step of this attempt: a re-send carries the same one. */
  psp_idempotency_key: string
  /** What earlier steps of this operation left with `continue`. */
  answers: Record<string, string>
}

/** Why an issuer or PSP said no, in one vocabulary over all PSPs. */
export const declineReasons = [
  'authentication_required',
  'card_not_supported',
  'card_velocity_exceeded',
  'do_not_honor',
  'expired_card',
  'fraud_suspected',
  'generic_decline',
  'incorrect_cvc',
  'incorrect_number',
  'insufficient_funds',
  'invalid_account',
  'invalid_data',
  'issuer_unavailable',
  'lost_card',
  'not_permitted',
  'pickup_card',
  'processing_error',
  'restricted_card',
  'stolen_card',
  'stop_payment',
] as const
export type DeclineReason = (typeof declineReasons)[number]

/** What the merchant's system should do next after a decline. */
export const declineActions = [
  'retry_now',
  'retry_later',
  'update_credentials',
  'authenticate',
  'fix_data',
  'stop_card',
  'stop_agreement',
  'stop_fraud',
  'config_error',
] as const
export type DeclineAction = (typeof declineActions)[number]

export type Decline = {
  reason: DeclineReason
  action: DeclineAction
  /** The PSP's own code, verbatim. */
  psp_code: string
  /** Whose vocabulary `psp_code` is from, e.g. `stripe.decline_code`. */
  psp_code_namespace: string
  network_decline_code: string | null
  network_advice_code: string | null
}

/**
 * How an operation ended, as far as its PSP has told.
 *
 * - approved: `amount` was authorized, or also captured.
 * - declined: the issuer or PSP refused; nothing moved.
 * - rejected: the PSP did not accept the request; definite, nothing moved. `is_config_error`: whoever asked was refused,
 *   such as by wrong credentials, and so will be all that come after.
 * - pending: accepted, the result comes later.
 * - action_required: the cardholder has to act.
 * - unknown: money may have moved. Never retried blindly, never failed over.
 */
export type Outcome =
  | {
      kind: 'approved'
      amount: Money
      captured: boolean
      psp_reference: string
      network_transaction_id: string | null
      /** Mastercard's Transaction Link Id. */
      transaction_link_id: string | null
      /** What the PSP holds in place of the card from now on, where it tells and it can be charged again. */
      psp_token?: string
    }
  | { kind: 'declined'; decline: Decline; psp_reference: string | null }
  | { kind: 'rejected'; psp_code: string; message: string; is_config_error?: true }
  | { kind: 'pending'; psp_reference: string; psp_token?: string }
  | { kind: 'action_required'; psp_reference: string; redirect_url: string | null }
  | { kind: 'unknown'; cause: string; psp_reference: string | null }

/** Not the end: go on with the next step, which sees `answers`. */
export type Continue = { kind: 'continue'; answers: Record<string, string> }

/** The PSP knows no such payment. Only an authoritative absence proves that nothing was charged. */
export type Absent = { kind: 'absent'; authoritative: boolean }

export type Step<Input> = {
  /** Unique within the operation; part of the PSP idempotency key. */
  name: string
  /** A step that moves money is sent only after it, and every answer before it, is durable. */
  moves_money: boolean
  /** False: once the cardholder's CVC is used, this step can only be looked up, not sent again. */
  resendable_without_cvc: boolean
  request(input: Input, context: StepContext): HttpRequest
  response(response: HttpResponse, input: Input): Outcome | Continue
}

/** What a stored credential is used for, in the card networks' words. */
export const credentialUsages = [
  'card_on_file',
  'subscription',
  'installment',
  'unscheduled',
  'resubmission',
  'delayed_charge',
  'reauthorization',
  'no_show',
] as const
export type CredentialUsage = (typeof credentialUsages)[number]

/**
 * A payment under the cardholder's consent that the card be kept. The identifiers are those of the first payment,
 * verbatim: opaque, case-sensitive, spaces at the end included, made by any PSP; null where not known.
 */
export type StoredCredential = {
  usage: CredentialUsage
  /** `first`: the cardholder gives consent with this payment. */
  sequence: 'first' | 'subsequent'
  network_transaction_id: string | null
  transaction_link_id: string | null
}

export type AuthorizeInput = {
  attempt_id: string
  payment_id: string
  /** Stable over all payments of the card: what a PSP may be told as its name for the shopper. */
  card_id: string
  /** Zero only in the steps of `verify`. */
  amount: Money
  capture: 'automatic' | 'manual'
  initiator: 'customer' | 'merchant'
  stored_credential: StoredCredential | null
  /** What the PSP holds in place of the card: with it, no mark of the card is used. */
  psp_token: string | null
  /** The merchant's own reference, or null. */
  merchant_reference: string | null
}

export type SyncInput = AuthorizeInput & {
  /** When the step that moves money was handed to the vault. */
  sent_at: Date
  asked_at: Date
  /** `server_error`: the PSP finished the request with a 5xx, so it cannot land later any more. */
  last_answer: 'none' | 'server_error'
}

export type Sync = {
  request(input: SyncInput, context: StepContext): HttpRequest
  response(response: HttpResponse, input: SyncInput): Outcome | Absent
}

/** What a merchant may say a refund is for. */
export const refundReasons = ['duplicate', 'fraudulent', 'requested_by_customer'] as const
export type RefundReason = (typeof refundReasons)[number]

/** A capture, a cancel, a refund or an increment of a payment that its PSP has authorized. */
export type OperationInput = {
  operation_id: string
  payment_id: string
  /** What the PSP calls the payment: the `psp_reference` of its authorization. */
  payment_psp_reference: string
  /** What to capture or to refund, or what is to be held in addition; for a cancel, what is held. */
  amount: Money
  /** Of the payment in all, before this operation; they stay so while a capture or an increment is under way. */
  authorized: Money
  captured: Money
  /** Of a capture: whether it lets go of what is left then. Always true where the PSP captures once. */
  final: boolean
  reason: RefundReason | null
}

/**
 * How an operation ended, as far as its PSP has told.
 *
 * - succeeded: exactly that amount was captured or refunded; or nothing is held any more.
 * - rejected: refused; definite, this operation moved nothing and never will.
 * - pending: accepted, the result comes later.
 * - unknown: it may have been carried out.
 */
export type OperationOutcome =
  | { kind: 'succeeded'; psp_reference: string }
  | { kind: 'rejected'; psp_code: string; message: string; is_config_error?: true }
  | { kind: 'pending'; psp_reference: string }
  | { kind: 'unknown'; cause: string; psp_reference: string | null }

export type OperationLookUp = OperationInput & Pick<SyncInput, 'sent_at' | 'asked_at' | 'last_answer'>

/** One request, which needs no card: under the same key it may be sent again for as long as the PSP keeps it. */
export type Operation = {
  request(input: OperationInput, context: StepContext): HttpRequest
  response(response: HttpResponse, input: OperationInput): OperationOutcome
  /** Looks up what became of it. */
  look_up?: {
    request(input: OperationLookUp, context: StepContext): HttpRequest
    response(response: HttpResponse, input: OperationLookUp): OperationOutcome | Absent
  }
}

/** A PSP's notice as it came. */
export type WebhookRequest = {
  /** Lower-case names. */
  headers: Record<string, string>
  /** The very text that was sent, decoded as UTF-8. */
  body: string
}

/** What proves that a notice is the PSP's. The key is the connection's webhook secret, which only the vault has. */
export type WebhookSignature = {
  algorithm: 'hmac_sha256'
  /** How the secret's text gives the key's bytes. */
  key_encoding: 'utf8' | 'hex'
  encoding: 'hex' | 'base64'
  /** What was signed. */
  message: string
  /** As given, any one of which must be right: while a secret is replaced, a PSP may sign with both. */
  signatures: string[]
  /** When it was signed, if the signature covers that. */
  signed_at: Date | null
}

/** Stages of a dispute, in one vocabulary over all PSPs. */
export const disputeStages = ['inquiry', 'opened', 'won', 'lost'] as const
export type DisputeStage = (typeof disputeStages)[number]

/** What one notice is about, and what it tells. Whatever is not certain is `other`: kept, and acted on by nobody. */
export type WebhookNotice = {
  /** Unique at this account of the PSP, the same when the notice is sent again. */
  event_id: string
  /** The PSP's own word. */
  type: string
  /** RFC 3339, or null where it does not say. */
  occurred_at: string | null
} & (
  | { about: 'attempt'; attempt_id: string; outcome: Outcome }
  /** `operation_id` where the PSP hands back ours, else what the PSP calls the operation. */
  | {
      about: 'operation'
      operation_id: string | null
      psp_reference: string | null
      /** Of a capture that the PSP made by itself, and that has failed: the attempt it came with. */
      attempt_id?: string
      outcome: OperationOutcome
    }
  | {
      about: 'dispute'
      /** Of the payment. */
      psp_reference: string
      dispute_reference: string
      stage: DisputeStage
      amount: Money | null
      reason: string | null
    }
  | { about: 'other' }
)

export type Webhook = {
  /** Each must be valid; undefined where the request is not signed as the PSP signs. */
  signatures(request: WebhookRequest): WebhookSignature[] | undefined
  /** One delivery may carry several; undefined where it cannot be read. */
  notices(request: WebhookRequest): WebhookNotice[] | undefined
  /** What the PSP wants to hear: status 200 with this text. */
  acknowledgement: string
  /** How long after it was signed a notice is taken, in seconds. */
  tolerance_seconds: number
  /** As `reference_fields` of a connector, in the body of a notice. */
  reference_fields?: string[]
}

/** How a PSP names the cards that it holds, where its connector charges them (`psp_token` of the input). */
export type PspTokens = {
  /** The form of a token, as a regular expression over the whole of it; it allows no brace. */
  pattern: string
  /** The `psp_code` of rejections that say: there is no such token, and nothing was done. */
  not_found_codes: readonly string[]
}

/** One PSP. An operation that a PSP does not have is an absent property. */
export type Connector = {
  /** The folder's name and the `psp` of a connection. */
  psp: string
  authorize: Step<AuthorizeInput>[]
  /** Asks whether a card is good, for an amount of zero: nothing is charged and nothing held. */
  verify?: Step<AuthorizeInput>[]
  /** Looks up what became of an authorization. */
  sync?: Sync
  /** `several`: what is left of an authorization after a capture can be captured too, at that account. */
  capture?: Operation & { several: boolean | ((account: Account) => boolean) }
  cancel?: Operation
  refund?: Operation
  /** Holds more of an authorization: `amount` is what is added. */
  increment?: Operation
  webhook?: Webhook
  psp_tokens?: PspTokens
  /** How long the PSP keeps an idempotency key, in hours: within it the same request may be sent again. */
  idempotency_key_lifetime_hours?: number
  /**
   * True for an answer the PSP had saved under our key and gives to every request that carries it: whichever of
   * them comes first or last, none executes any more. False where that is not certain.
   */
  is_saved_answer?(response: HttpResponse): boolean
  /** Dotted paths of answer fields that hold references, which the card-number detector must leave alone. */
  reference_fields: string[]
}

/** Reads a PSP's JSON answer; `undefined` where it is not a JSON object. */
export function parseJsonObject(body: string): { [name: string]: JsonValue } | undefined {
  try {
    const value = JSON.parse(body)
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}
