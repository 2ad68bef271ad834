/**
 * What the simulated Adyen knows. Objects are replaced, never changed, and only by `apply`: at run time with what an
 * execution decided, at start with what the journal holds.
 */
import type { Brand } from '../card-networks.ts'

/** Of a card, without its number: what becomes of its payments is decided when it is seen. */
export type Card = {
  brand: Brand
  last4: string
  /** The code that its holder's name asks for, or that it has run out. */
  refusal: string | null
  wants_authentication: boolean
}

export type Payment = {
  kind: 'payment'
  /** `pspReference` */
  id: string
  account: string
  merchant_account: string
  created_ms: number
  reference: string
  card: Card
  currency: string
  /** Minor units as Adyen counts them. */
  authorized: number
  captured: number
  refunded: number
  capture: 'automatic' | 'manual'
  result: 'authorised' | 'refused' | 'redirected'
  refusal: string | null
  canceled: boolean
  is_pre_authorized: boolean
  network_tx_reference: string | null
  transaction_link_id: string | null
  /** What the request said of consent and shopper, for whoever checks that it was said right. */
  asked: Record<string, string>
  /** Of the request that made it, for the ledger. */
  idempotency_key: string | null
}

/** A change of a payment, whose result was decided when it was received. */
export type Modification = {
  kind: 'modification'
  id: string
  account: string
  merchant_account: string
  created_ms: number
  type: 'capture' | 'cancel' | 'refund' | 'amount_update' | 'reversal' | 'technical_cancel'
  /** Null where a technical cancel found none. */
  payment: string | null
  payment_reference: string
  brand: Brand
  reference: string
  amount: number
  currency: string
  success: boolean
  reason: string
  /** It had succeeded, and came to nothing. */
  failed_later: boolean
  idempotency_key: string | null
}

export type Dispute = {
  kind: 'dispute'
  id: string
  account: string
  merchant_account: string
  created_ms: number
  payment: string
  payment_reference: string
  brand: Brand
  amount: number
  currency: string
  /** The event code of where it stands. */
  event_code: string
  reason: string
}

export type StoredMethod = {
  kind: 'stored_method'
  id: string
  account: string
  shopper: string
  card: Card
}

export type AdyenObject = Payment | Modification | Dispute | StoredMethod
type ObjectOf<Kind extends AdyenObject['kind']> = Extract<AdyenObject, { kind: Kind }>

export type State = {
  /** Where the simulator answers, for the page a cardholder is sent to; known once it listens. */
  own_url: string
  apply(changes: AdyenObject[]): void
  /** Of this account, else undefined: another account's objects do not exist for it. */
  get<Kind extends AdyenObject['kind']>(kind: Kind, account: string, id: string): ObjectOf<Kind> | undefined
  /** Oldest first. */
  all<Kind extends AdyenObject['kind']>(kind: Kind): ObjectOf<Kind>[]
  clear(): void
}

export function createState(): State {
  const objects = new Map<string, AdyenObject>()
  return {
    own_url: '',
    apply(changes) {
      for (const change of changes) objects.set(change.id, change)
    },
    get<Kind extends AdyenObject['kind']>(kind: Kind, account: string, id: string) {
      const found = objects.get(id)
      return found?.kind === kind && found.account === account ? (found as ObjectOf<Kind>) : undefined
    },
    all<Kind extends AdyenObject['kind']>(kind: Kind) {
      return [...objects.values()].filter((each): each is ObjectOf<Kind> => each.kind === kind)
    },
    clear: () => objects.clear(),
  }
}
