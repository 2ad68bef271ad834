/** Checkout.com. See README.md beside for what is sent and how answers are read. */
import type { Connector } from '@coffer/core/connector.ts'
import { requestPayment, verifyCard } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { sync } from './sync.ts'
import { webhook } from './webhook.ts'

/** A payment, an action or an answer stands by itself, or in a list, or in a notice. */
const places = ['', 'data.']
const references = [
  'id',
  'action_id',
  'reference',
  'scheme_id',
  'payment_id',
  'payment_action_id',
  'payment_reference',
  'customer.id',
  'metadata.coffer_attempt',
  'metadata.coffer_operation',
  'metadata.coffer_payment',
  'processing.acquirer_reference_number',
  'processing.acquirer_transaction_id',
  'processing.retrieval_reference_number',
  'processing.scheme_transaction_link_id',
  'source.fingerprint',
  'source.id',
  'source.payment_account_reference',
]

export const connector: Connector = {
  psp: 'checkout',
  authorize: [requestPayment],
  verify: [verifyCard],
  sync,
  capture,
  cancel,
  refund,
  increment,
  webhook,
  reference_fields: places.flatMap((place) => references.map((field) => place + field)),
}
