/** Agreements: what cardholders have consented to, kept with the identifiers that prove it to the networks. */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { isCardNumber, refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import { checkCursor, limitOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { Static } from 'typebox'
import { cardInVault } from '../payments/vault-facts.ts'
import { type AgreementStatus, checkConsent } from './consent.ts'
import * as queries from './queries.ts'
import type { Agreement, agreementListQuery, NewAgreement } from './schemas.ts'

export type Agreements = ReturnType<typeof createAgreements>

export type AgreementsDeps = {
  database: Database
  vault: InternalClient
  bodyKey: KeyObject
  clock: Clock
}

/** Gives the JSON text of an agreement as its response schema allows it. */
export type SerializeAgreement = (agreement: Agreement) => string

/** After every id there is: where a list begins that goes from the newest to the oldest. */
const afterAllIds = 'agr_~'

export function createAgreements(deps: AgreementsDeps) {
  const { database } = deps

  /** The events may be a moment behind: the vault is asked before a card is refused. @throws Failure */
  async function brandOf(merchantId: string, cardId: string): Promise<string> {
    const known = await queries.findCardFacts(database, merchantId, cardId)
    const card = known?.status === 'active' ? known : await cardInVault(deps.vault, merchantId, cardId)
    if (card === undefined) throw new Failure('card_not_found', { param: 'card' })
    if (card.status !== 'active') throw new Failure('card_not_active', { param: 'card' })
    return card.brand
  }

  return {
    /** Takes over a consent that was given elsewhere. @throws Failure card_not_found, card_not_active */
    async create(
      caller: Caller,
      input: NewAgreement,
      idempotencyKey: string | null,
      serialize: SerializeAgreement,
    ): Promise<StoredAnswer> {
      const now = deps.clock.now()
      checkConsent(input, now, '')
      for (const param of ['network_transaction_id', 'transaction_link_id'] as const)
        refuseNumberAsIdentifier(param, input[param])
      const network = await brandOf(caller.merchant_id, input.card)
      const agreement = agreementOf(input, network, now)
      const entry = {
        ...caller,
        agreement,
        idempotency_key: idempotencyKey,
        body_hmac: bodyHmac(deps.bodyKey, { ...input }),
        answer: { status: 201, body: serialize(agreement) },
      }
      const written = await queries.insertAgreement(database, entry).catch((error: unknown) => {
        // The same key, at the same time: by now its record is there.
        if (queries.isKeyTaken(error)) return queries.insertAgreement(database, entry)
        throw error
      })
      if (written.verdict === 'body_differs') throw keyReused()
      return written.verdict === 'repeated' ? written.answer : entry.answer
    },

    async get(merchantId: string, agreementId: string): Promise<Agreement> {
      const found = isId('agreement', agreementId)
        ? await queries.findAgreement(database, merchantId, agreementId)
        : undefined
      if (found === undefined) throw new Failure('not_found')
      return found
    },

    async list(merchantId: string, asked: Static<typeof agreementListQuery>) {
      checkCursor('agreement', asked.cursor)
      return queries.listAgreements(database, merchantId, {
        card_id: asked.card ?? null,
        status: (asked.status as AgreementStatus | undefined) ?? null,
        before_id: asked.cursor ?? afterAllIds,
        limit: limitOf(asked.limit),
      })
    },

    /** From the commit on, no payment begins under it. Ending it again changes nothing. */
    async end(caller: Caller, agreementId: string): Promise<Agreement> {
      const ended = isId('agreement', agreementId)
        ? await queries.endAgreement(database, caller, agreementId, deps.clock.now())
        : undefined
      if (ended === undefined) throw new Failure('not_found')
      return ended
    },
  }
}

/**
 * Visa's and American Express' identifiers are 15 digits, and by chance every tenth of them has a card's check digit:
 * those pass. Nothing else that looks like a card number does.
 */
function refuseNumberAsIdentifier(param: string, value: string | undefined): void {
  const isFifteenDigits = value !== undefined && /^[0-9]{15}$/.test(value)
  if (isFifteenDigits && !(isCardNumber(value) && /^3[47]/.test(value))) return
  refuseCardNumberIn(param, value)
}

function agreementOf(input: NewAgreement, network: string, now: Date): Agreement {
  const at = now.toISOString()
  return {
    id: newId('agreement', now.getTime()),
    object: 'agreement',
    card: input.card,
    usage: input.usage,
    status: 'active',
    ended_reason: null,
    customer: input.customer ?? null,
    description: input.description ?? null,
    consented_at: new Date(input.consented_at ?? at).toISOString(),
    network,
    network_transaction_id: input.network_transaction_id ?? null,
    transaction_link_id: input.transaction_link_id ?? null,
    first_payment: null,
    first_connection: null,
    created_at: at,
    updated_at: at,
  }
}
