/**
 * What the simulated Stripe knows. Objects are replaced, never changed, and only by `apply`: at run time
 * with what an execution decided, at start with what the journal holds.
 */
import type { Brand } from '../card-networks.ts'
import type { Scenario } from './cards.ts'

type Metadata = Record<string, string>

export type PaymentMethod = {
  kind: 'payment_method'
  id: string
  account: string
  created_ms: number
  brand: Brand
  last4: string
  exp_month: number
  exp_year: number
  fingerprint: string
  scenario: Scenario
  cvc_given: boolean
  customer: string | null
  billing: Record<string, string>
  metadata: Metadata
}

type IntentStatus =
  | 'requires_payment_method'
  | 'requires_confirmation'
  | 'requires_action'
  | 'requires_capture'
  | 'canceled'
  | 'succeeded'

export type PaymentIntent = {
  kind: 'payment_intent'
  id: string
  account: string
  created_ms: number
  client_secret: string
  amount: number
  currency: string
  status: IntentStatus
  payment_method: string | null
  latest_charge: string | null
  last_error: { decline_code: string; payment_method: string; charge: string } | null
  amount_received: number
  canceled_at_ms: number | null
  cancellation_reason: string | null
  metadata: Metadata
  options: IntentOptions
}

/** What the client chose at creation or confirmation; absent where it did not. */
export type IntentOptions = {
  capture_method?: 'automatic' | 'automatic_async' | 'manual'
  confirmation_method?: 'automatic' | 'manual'
  setup_future_usage?: 'on_session' | 'off_session'
  customer?: string
  description?: string
  receipt_email?: string
  return_url?: string
  statement_descriptor?: string
  statement_descriptor_suffix?: string
  transfer_group?: string
  /** Whether a hold may grow, or be captured in parts: asked for at the authorization. */
  request_incremental_authorization?: 'if_available' | 'never'
  request_multicapture?: 'if_available' | 'never'
  /** Of accounts that may tell the network's identifiers of earlier payments. */
  stored_credential_transaction_type?: string
  mit_exemption?: { network_transaction_id: string } | { claim_without_transaction_id: true }
}

export type SetupIntent = {
  kind: 'setup_intent'
  id: string
  account: string
  created_ms: number
  client_secret: string
  status: Exclude<IntentStatus, 'requires_capture'>
  payment_method: string | null
  last_error: { decline_code: string; payment_method: string } | null
  cancellation_reason: string | null
  usage: 'off_session' | 'on_session'
  metadata: Metadata
}

export type Charge = {
  kind: 'charge'
  id: string
  account: string
  created_ms: number
  payment_intent: string
  payment_method: string
  amount: number
  currency: string
  decline_code: string | null
  /** Nothing more is held: what was not captured then was released. */
  captured: boolean
  canceled: boolean
  amount_captured: number
  amount_refunded: number
  network_transaction_id: string | null
  /** Absent where the network has none. */
  transaction_link_id?: string
  authorization_code: string | null
  /** Of the request that made it, for the ledger. */
  idempotency_key: string | null
  metadata: Metadata
  transfer_group: string | null
}

export type Refund = {
  kind: 'refund'
  id: string
  account: string
  created_ms: number
  charge: string
  payment_intent: string
  amount: number
  currency: string
  reason: string | null
  pending_until_ms: number
  idempotency_key: string | null
  metadata: Metadata
  /** The card's bank sent the money back. */
  has_failed?: boolean
}

export type Dispute = {
  kind: 'dispute'
  id: string
  account: string
  created_ms: number
  charge: string
  payment_intent: string
  amount: number
  currency: string
  reason: string
  status: 'needs_response' | 'won' | 'lost'
  metadata: Metadata
}

export type Customer = {
  kind: 'customer'
  id: string
  account: string
  created_ms: number
  name: string | null
  email: string | null
  description: string | null
  metadata: Metadata
}

export type StripeObject = PaymentMethod | PaymentIntent | SetupIntent | Charge | Refund | Dispute | Customer
type ObjectOf<Kind extends StripeObject['kind']> = Extract<StripeObject, { kind: Kind }>

export type State = {
  /** Where the simulator answers, for the pages a cardholder is sent to; known once it listens. */
  own_url: string
  apply(changes: StripeObject[]): void
  /** Of this account, else undefined: another account's objects do not exist for it. */
  get<Kind extends StripeObject['kind']>(
    kind: Kind,
    account: string,
    id: string | null,
  ): ObjectOf<Kind> | undefined
  /** Newest first. */
  newestFirst<Kind extends StripeObject['kind']>(kind: Kind): Iterable<ObjectOf<Kind>>
  clear(): void
}

export function createState(): State {
  const objects = new Map<string, StripeObject>()
  const order: Record<StripeObject['kind'], string[]> = {
    payment_method: [],
    payment_intent: [],
    setup_intent: [],
    charge: [],
    refund: [],
    dispute: [],
    customer: [],
  }
  return {
    own_url: '',
    apply(changes) {
      for (const change of changes) {
        if (!objects.has(change.id)) order[change.kind].push(change.id)
        objects.set(change.id, change)
      }
    },
    get<Kind extends StripeObject['kind']>(kind: Kind, account: string, id: string | null) {
      const found = id === null ? undefined : objects.get(id)
      return found?.kind === kind && found.account === account ? (found as ObjectOf<Kind>) : undefined
    },
    *newestFirst<Kind extends StripeObject['kind']>(kind: Kind) {
      const ids = order[kind]
      for (let index = ids.length - 1; index >= 0; index--) yield objects.get(ids[index]!) as ObjectOf<Kind>
    },
    clear() {
      objects.clear()
      for (const ids of Object.values(order)) ids.length = 0
    },
  }
}
