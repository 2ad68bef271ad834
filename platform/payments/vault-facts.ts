/** What the vault is asked where the projection of its events may be a moment behind. */
import { Failure } from '@coffer/core/errors.ts'
import { isId } from '@coffer/core/ids.ts'
import type { CardFacts, ConnectionFacts } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { RouteConnection } from './connection-queries.ts'

/** Undefined where there is no such connection; null asks for the oldest active one. */
export async function connectionInVault(
  vault: InternalClient,
  merchantId: string,
  connectionId: string | null,
): Promise<RouteConnection | undefined> {
  if (connectionId !== null && !isId('connection', connectionId)) return undefined
  const asked = { merchant_id: merchantId, connection_id: connectionId }
  try {
    return await vault.call<ConnectionFacts>('/internal/connection-facts', asked)
  } catch (error) {
    if (error instanceof Failure && error.code === 'connection_not_found') return undefined
    throw error
  }
}

/** Undefined where there is no such card. */
export async function cardInVault(
  vault: InternalClient,
  merchantId: string,
  cardId: string,
): Promise<CardFacts | undefined> {
  if (!isId('card', cardId)) return undefined
  try {
    const asked = { merchant_id: merchantId, card_id: cardId }
    return await vault.call<CardFacts>('/internal/card-facts', asked)
  } catch (error) {
    if (error instanceof Failure && error.code === 'not_found') return undefined
    throw error
  }
}
