/** Stripe. See README.md beside for what is sent and how answers are read. */
import type { Connector } from '@coffer/core/connector.ts'
import { resendHours } from './absence.ts'
import { createPaymentIntent, createPaymentMethod } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { isSavedAnswer, sync } from './sync.ts'
import { verify } from './verify.ts'
import { webhook } from './webhook.ts'

/** Where a charge stands in an answer: in an intent, in an error's intent, in a list. */
const chargePlaces = ['latest_charge.', 'error.payment_intent.latest_charge.', 'data.']
const intentPlaces = ['', 'error.payment_intent.', 'error.setup_intent.']

/** Single values only: naming a field that can be expanded would exempt the whole object in it. */
const chargeReferences = [
  'id',
  'balance_transaction',
  'receipt_number',
  'transfer_group',
  'metadata.coffer_attempt',
  'metadata.coffer_payment',
  'payment_method_details.card.authorization_code',
  'payment_method_details.card.fingerprint',
  'payment_method_details.card.network_transaction_id',
  'payment_method_details.card.transaction_link_id',
]

const intentReferences = [
  'id',
  'client_secret',
  'transfer_group',
  'metadata.coffer_attempt',
  'latest_attempt',
  'metadata.coffer_capture',
  'metadata.coffer_increment',
  'metadata.coffer_payment',
]

/** A refund answers with itself, or stands in a list; what it shares with a charge is named there. */
const refundPlaces = ['', 'data.']
const refundReferences = ['metadata.coffer_refund', 'destination_details.card.reference']

export const connector: Connector = {
  psp: 'stripe',
  authorize: [createPaymentMethod, createPaymentIntent],
  verify,
  sync,
  capture,
  cancel,
  refund,
  increment,
  webhook,
  psp_tokens: {
    pattern: '^(pm|card|src)_[A-Za-z0-9_]{4,100}$',
    not_found_codes: ['resource_missing'],
  },
  idempotency_key_lifetime_hours: resendHours,
  is_saved_answer: isSavedAnswer,
  reference_fields: [
    ...chargePlaces.flatMap((place) => chargeReferences.map((field) => place + field)),
    ...intentPlaces.flatMap((place) => intentReferences.map((field) => place + field)),
    ...refundPlaces.flatMap((place) => refundReferences.map((field) => place + field)),
    'balance_transaction',
    'card.fingerprint',
    'data.client_secret',
    'data.latest_attempt',
    'error.charge',
    'error.payment_method.id',
    'error.payment_method.card.fingerprint',
    'error.request_log_url',
  ],
}
