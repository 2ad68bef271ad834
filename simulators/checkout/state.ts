/**
 * What the simulated Checkout.com knows. Objects are replaced, never changed, and only by `apply`: at run time with
 * what an execution decided, at start with what the journal holds.
 */
import type { Brand } from '../card-networks.ts'
import type { Scenario } from './cards.ts'

export type Metadata = Record<string, string | number | boolean>

/** A card as it is kept; the same number of an account is the same source. */
export type Source = {
  kind: 'source'
  id: string
  account: string
  bin: string
  last4: string
  scheme: Brand
  expiry_month: number
  expiry_year: number
  name: string | null
  fingerprint: string
  scenario: Scenario
  refuses_101: boolean
}

export type Payment = {
  kind: 'payment'
  id: string
  account: string
  created_ms: number
  source: string
  amount: number
  currency: string
  payment_type: string
  merchant_initiated: boolean
  authorization_type: 'Final' | 'Estimated'
  reference: string | null
  description: string | null
  metadata: Metadata
  previous_payment_id: string | null
  scheme_id: string | null
  auth_code: string | null
  acquirer_transaction_id: string
  idempotency_key: string | null
}

export type ActionType = 'Authorization' | 'Card Verification' | 'Capture' | 'Refund' | 'Void'

/** What was done to a payment. It is carried out, and seen, from `processed_ms` on; how it ends is known before. */
export type Action = {
  kind: 'action'
  id: string
  account: string
  payment: string
  type: ActionType
  amount: number
  approved: boolean
  response_code: string
  reference: string | null
  metadata: Metadata
  processed_ms: number
  /** Of a capture: what is left is let go of. */
  is_final: boolean
  idempotency_key: string | null
}

export type Dispute = {
  kind: 'dispute'
  id: string
  account: string
  payment: string
  amount: number
  currency: string
  category: string
  status: string
}

export type CheckoutObject = Source | Payment | Action | Dispute
type ObjectOf<Kind extends CheckoutObject['kind']> = Extract<CheckoutObject, { kind: Kind }>

export type State = {
  /** Where the simulator answers, for its links; known once it listens. */
  own_url: string
  apply(changes: CheckoutObject[]): void
  /** Of this account, else undefined: another account's objects do not exist for it. */
  get<Kind extends CheckoutObject['kind']>(
    kind: Kind,
    account: string,
    id: string,
  ): ObjectOf<Kind> | undefined
  find<Kind extends CheckoutObject['kind']>(kind: Kind, id: string): ObjectOf<Kind> | undefined
  payments(): Payment[]
  /** All that was accepted, oldest first. */
  actionsOf(payment: string): Action[]
  byReference(account: string, reference: string): Payment[]
  clear(): void
}

export function createState(): State {
  const objects = new Map<string, CheckoutObject>()
  const payments: string[] = []
  const actions = new Map<string, string[]>()
  const references = new Map<string, string[]>()
  const keyOf = (account: string, reference: string) => `${account} ${reference}`

  function listUnder(lists: Map<string, string[]>, key: string, id: string) {
    const list = lists.get(key)
    if (list === undefined) lists.set(key, [id])
    else list.push(id)
  }

  function find<Kind extends CheckoutObject['kind']>(kind: Kind, id: string) {
    const found = objects.get(id)
    return found?.kind === kind ? (found as ObjectOf<Kind>) : undefined
  }
  const paymentsOf = (ids: string[]) => ids.map((id) => objects.get(id) as Payment)

  return {
    own_url: '',
    apply(changes) {
      for (const change of changes) {
        if (!objects.has(change.id)) {
          if (change.kind === 'action') listUnder(actions, change.payment, change.id)
          if (change.kind === 'payment') {
            payments.push(change.id)
            if (change.reference !== null)
              listUnder(references, keyOf(change.account, change.reference), change.id)
          }
        }
        objects.set(change.id, change)
      }
    },
    get<Kind extends CheckoutObject['kind']>(kind: Kind, account: string, id: string) {
      const found = find(kind, id)
      return found?.account === account ? found : undefined
    },
    find,
    payments: () => paymentsOf(payments),
    actionsOf: (payment) => (actions.get(payment) ?? []).map((id) => objects.get(id) as Action),
    byReference: (account, reference) => paymentsOf(references.get(keyOf(account, reference)) ?? []),
    clear() {
      objects.clear()
      payments.length = 0
      actions.clear()
      references.clear()
    },
  }
}
