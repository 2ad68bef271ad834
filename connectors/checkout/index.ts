/** Checkout.com. See README.md beside for what is sent and how answers are read. */
import type { Connector } from '@coffer/core/connector.ts'
import { requestPayment, verifyCard } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { pspTokens } from './psp-tokens.ts'
import { refund } from './refund.ts'
import { references } from './statuses.ts'
import { sync } from './sync.ts'
import { webhook } from './webhook.ts'

/** A payment, an action or an answer stands by itself, or in a list. */
const places = ['', 'data.']

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
  psp_tokens: pspTokens,
  reference_fields: places.flatMap((place) => references.map((field) => place + field)),
}
