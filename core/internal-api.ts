/** The wire shapes of calls between our own roles. */
import { type Static, Type } from 'typebox'
import { metadataShown } from './metadata.ts'

const short = Type.String({ minLength: 1, maxLength: 100 })
const headers = Type.Record(Type.String({ maxLength: 100 }), Type.String({ maxLength: 8_000 }))

export const httpRequest = Type.Object({
  method: Type.Union([Type.Literal('GET'), Type.Literal('POST')]),
  path: Type.String({ pattern: '^/', maxLength: 4_000 }),
  headers,
  body: Type.Union([
    Type.Object({ form: Type.Array(Type.Tuple([Type.String(), Type.String()]), { maxItems: 500 }) }),
    Type.Object({ json: Type.Unknown() }),
    Type.Null(),
  ]),
})

/**
 * Asks the vault to send one request to a PSP. The names of merchant, card, attempt and connection are a
 * delegation: the vault refuses unless they belong together.
 */
export const forwardCall = Type.Object({
  merchant_id: short,
  card_id: short,
  /** Null takes the card's current version. */
  card_version_id: Type.Union([short, Type.Null()]),
  /**
   * Of a request that charges what the PSP holds instead of the card: the fingerprint of the number it holds. It is sent
   * under the same conditions as the card's own data, and only while that is the card's number.
   */
  stands_for: Type.Optional(short),
  attempt_id: short,
  connection_id: short,
  step: short,
  /** 0 for the first time; each further number is a deliberate re-send. */
  send_number: Type.Integer({ minimum: 0, maximum: 30_000 }),
  moves_money: Type.Boolean(),
  /** What earlier steps have told: kept with the record, so it is durable before this is sent. */
  answers: Type.Record(Type.String({ maxLength: 100 }), Type.String({ maxLength: 1_000 })),
  timeout_ms: Type.Integer({ minimum: 1, maximum: 300_000 }),
  request: httpRequest,
  reference_fields: Type.Array(Type.String({ maxLength: 200 }), { maxItems: 200 }),
})
export type ForwardCall = Static<typeof forwardCall>

const answer = Type.Object({
  status: Type.Integer(),
  headers: Type.Record(Type.String(), Type.String()),
  body: Type.String(),
})

/**
 * - answered: here is the PSP's masked answer.
 * - not_sent: nothing left the vault, for certain, and nothing will under this send number.
 * - unanswered: it may have been sent.
 */
export const forwardResult = Type.Object({
  outcome: Type.Union([Type.Literal('answered'), Type.Literal('not_sent'), Type.Literal('unanswered')]),
  reason: Type.String(),
  /** Of a failure that has a name of its own. */
  code: Type.Optional(Type.Enum(['cvc_unavailable', 'psp_unavailable', 'card_changed'])),
  card_version_id: Type.Union([Type.String(), Type.Null()]),
  answer: Type.Union([answer, Type.Null()]),
  /** Time the PSP took, in milliseconds. */
  destination_ms: Type.Number(),
})
export type ForwardResult = Static<typeof forwardResult>

export const forwardLook = Type.Object({
  merchant_id: short,
  attempt_id: short,
  connection_id: short,
  card_id: short,
  step: short,
})
export type ForwardLook = Static<typeof forwardLook>

/**
 * What became of a step's sends. Looking closes the step if it was never recorded: from then on the vault
 * refuses its first send, so `not_sent` stays true even if a paused process wakes up.
 */
export const forwardLooked = Type.Object({
  state: Type.Union([Type.Literal('not_sent'), Type.Literal('unanswered'), Type.Literal('answered')]),
  /** The newest answer, where there is one. */
  answer: Type.Union([answer, Type.Null()]),
  /** How often it was sent or may have been, and how many of those sends have no answer. */
  sends: Type.Integer(),
  unanswered_sends: Type.Integer(),
  first_recorded_at: Type.Union([Type.String(), Type.Null()]),
  last_recorded_at: Type.Union([Type.String(), Type.Null()]),
  last_send_number: Type.Integer(),
  /** What the first send was made with. */
  answers: Type.Record(Type.String(), Type.String()),
  card_version_id: Type.Union([Type.String(), Type.Null()]),
})
export type ForwardLooked = Static<typeof forwardLooked>

export const cardFactsCall = Type.Object({ merchant_id: short, card_id: short })
export const cardFacts = Type.Object({
  brand: Type.String(),
  bin: Type.String(),
  status: Type.String(),
  fingerprint: Type.String(),
  version: Type.String(),
})
export type CardFacts = Static<typeof cardFacts>

/** Asks the vault whether a PSP has signed a notice: each of these must carry a right signature. */
export const webhookSignaturesCall = Type.Object({
  merchant_id: short,
  connection_id: short,
  signatures: Type.Array(
    Type.Object({
      algorithm: Type.Literal('hmac_sha256'),
      key_encoding: Type.Union([Type.Literal('utf8'), Type.Literal('hex')]),
      encoding: Type.Union([Type.Literal('hex'), Type.Literal('base64')]),
      /** A body of 1 MiB, with what a PSP puts in front. */
      message: Type.String({ maxLength: 1_049_600 }),
      signatures: Type.Array(Type.String({ maxLength: 200 }), { minItems: 1, maxItems: 20 }),
    }),
    { minItems: 1, maxItems: 100 },
  ),
})
export type WebhookSignaturesCall = Static<typeof webhookSignaturesCall>
export const webhookSignaturesChecked = Type.Object({ valid: Type.Boolean() })
export type WebhookSignaturesChecked = Static<typeof webhookSignaturesChecked>

/** Null asks for the merchant's oldest. */
export const connectionFactsCall = Type.Object({
  merchant_id: short,
  connection_id: Type.Union([short, Type.Null()]),
})
export const connectionFacts = Type.Object({
  connection_id: Type.String(),
  psp: Type.String(),
  status: Type.Union([Type.Literal('active'), Type.Literal('disabled')]),
  settings: metadataShown,
})
export type ConnectionFacts = Static<typeof connectionFacts>
