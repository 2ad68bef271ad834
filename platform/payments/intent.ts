/** Writes the intent of a payment, or says why there is to be none. */
import { Failure } from '@coffer/core/errors.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Clock } from '@coffer/core/time.ts'
import { retryNotAllowed } from '../retries/refusal.ts'
import type { ChargedCard } from './attempt.ts'
import type { AgreementRefusal, EarlierIntent, IntentInsert, IntentInserted } from './queries.ts'
import type { PaymentStore } from './store.ts'
import { cardInVault } from './vault-facts.ts'

type Written = Extract<IntentInserted, { verdict: 'inserted' }> | EarlierIntent

/** Which field of the request a refusal is about. */
const paramOf = {
  agreement_not_found: 'agreement',
  agreement_not_active: 'agreement',
  agreement_of_another_card: 'card',
  usage_not_agreed: 'usage',
} as const

/**
 * The projection of card events may be a moment behind: the vault is asked before a card is refused, be it that it is
 * not known, not active, or may not be retried.
 * @throws Failure card_not_found, card_not_active, retry_not_allowed, or what speaks against the agreement that it names
 */
export async function insertIntent(
  deps: { store: PaymentStore; vault: InternalClient; clock: Clock },
  entry: IntentInsert,
): Promise<Written> {
  const intent = await deps.store.insertIntent(entry)
  if (intent.verdict === 'agreement_refused') throw refusedBy(intent.code)
  if (intent.verdict !== 'card_not_known' && intent.verdict !== 'governed') return intent
  if (intent.verdict === 'card_not_known') {
    const card = await activeCard(deps.vault, entry)
    return insertIntent(deps, { ...entry, card })
  }
  const governed = await deps.store.insertGovernedIntent({ ...entry, card: intent.card })
  if (governed.verdict === 'agreement_refused') throw refusedBy(governed.code)
  if (governed.verdict !== 'refused') return governed
  // What has just been sent twice under one key may be refused for the very attempt that the first has begun.
  const earlier = await deps.store.findIntent(entry.merchant_id, entry.idempotency_key, entry.body_hmac)
  if (earlier !== undefined) return earlier
  const card = entry.card ?? (await activeCard(deps.vault, entry))
  if (card.version !== intent.card.version || card.fingerprint !== intent.card.fingerprint)
    return insertIntent(deps, { ...entry, card })
  throw retryNotAllowed(governed.refusal, deps.clock.now())
}

const refusedBy = (code: AgreementRefusal) => new Failure(code, { param: paramOf[code] })

/** @throws Failure card_not_found, card_not_active */
async function activeCard(vault: InternalClient, { merchant_id, plan }: IntentInsert): Promise<ChargedCard> {
  const card = await cardInVault(vault, merchant_id, plan.card_id)
  if (card === undefined) throw new Failure('card_not_found', { param: 'card' })
  if (card.status !== 'active') throw new Failure('card_not_active', { param: 'card' })
  return card
}
