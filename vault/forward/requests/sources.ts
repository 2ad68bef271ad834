/** What the marks of a request stand for: the data of its card and of its token. */
import { Failure } from '@coffer/core/errors.ts'
import type { BillingAddress } from '../../cards/billing-address.ts'
import type { Cards } from '../../cards/cards.ts'
import type { CardRow } from '../../cards/queries.ts'
import type { Keyring } from '../../keys/keyring.ts'
import { cardNumberPlace, unseal } from '../../keys/sealed-text.ts'
import type { Tokens, TokenValues } from '../../tokens/tokens.ts'
import { filtered, type MarkName, type MarkPlace, type Resolve, unresolvedMark } from './marks.ts'
import type { NewForward } from './schemas.ts'

export type MarkValues = Partial<Record<MarkName, string>>

/** Of all marks but the CVC, which is not opened but taken. */
export type Source = { card: CardRow | undefined; token_id: string | undefined; values: MarkValues }

/** @throws Failure not_found, card_not_active, or invalid_request where neither card nor token is named. */
export async function openSource(
  deps: { keyring: Keyring; cards: Cards; tokens: Tokens },
  merchantId: string,
  { card: cardId, token: tokenId }: NewForward,
): Promise<Source> {
  if (cardId === undefined && tokenId === undefined)
    throw new Failure('invalid_request', { param: 'card', detail: 'A card or a token is named.' })
  const card = cardId === undefined ? undefined : await named('card', deps.cards.find(merchantId, cardId))
  if (card !== undefined && card.status !== 'active') throw new Failure('card_not_active', { param: 'card' })
  const token =
    tokenId === undefined ? undefined : await named('token', deps.tokens.open(merchantId, tokenId))
  const cardValues = card === undefined ? {} : await valuesOfCard(deps.keyring, card)
  return { card, token_id: tokenId, values: { ...cardValues, ...valuesOfToken(token ?? {}) } }
}

/** Says which of the two there is not. */
function named<Found>(param: string, finding: Promise<Found>): Promise<Found> {
  return finding.catch((error: unknown) => {
    throw error instanceof Failure && error.code === 'not_found' ? new Failure('not_found', { param }) : error
  })
}

async function valuesOfCard(keyring: Keyring, card: CardRow): Promise<MarkValues> {
  const dataKey = await keyring.forDecryption(card.merchant_id, card.data_key_id)
  const values: MarkValues = {
    'card.number': unseal(dataKey, cardNumberPlace(card), card.number_encrypted),
    'card.exp_month': String(card.exp_month).padStart(2, '0'),
    'card.exp_year': String(card.exp_year),
  }
  if (card.cardholder_name !== null) values['card.cardholder_name'] = card.cardholder_name
  for (const [name, value] of Object.entries(card.billing_address ?? {}))
    if (value !== null) values[`card.billing_address.${name as keyof BillingAddress}`] = value
  return values
}

function valuesOfToken(token: TokenValues): MarkValues {
  const named = Object.entries(token).map(([name, value]) => [`token.${name}`, value])
  return Object.fromEntries(named) as MarkValues
}

/** @throws Failure mark_unresolved where there is no value, when it is asked for. */
export function valuesFrom(values: MarkValues): Resolve {
  return (mark, place) => {
    const value = values[mark.name]
    if (value === undefined) throw unresolvedMark(paramOf(place), mark, 'there is no value for it.')
    return filtered(mark, value)
  }
}

const paramOf = (place: MarkPlace) => (place === 'path' || place === 'query' ? 'url' : place)
