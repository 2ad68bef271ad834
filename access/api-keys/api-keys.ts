/**
 * API keys of a merchant. Who may make them gives at most what they have; an operator may do so at another
 * merchant too, and to everybody else that merchant's keys look as if there were none.
 */

import { hash } from 'node:crypto'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { canonical, keyReused } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { momentOf } from '@coffer/core/timestamps.ts'
import { digestOf, keyIdOf, type Mode, newKeyText } from '../keys.ts'
import { type Manager, merchantOf, noMerchant, refuseScopesBeyond } from '../manager.ts'
import { actorOf } from '../users/users.ts'
import * as queries from './queries.ts'
import type { ApiKey, CreatedApiKey, NewApiKey } from './schemas.ts'

export type ApiKeys = ReturnType<typeof createApiKeys>

export function createApiKeys(deps: { database: Database; mode: Mode; clock: Clock }) {
  return {
    /**
     * Makes a key and tells its text, this once.
     * @throws Failure secret_already_shown, naming the key, where this Idempotency-Key has made one.
     */
    async create(manager: Manager, input: NewApiKey, idempotencyKey: string | null): Promise<CreatedApiKey> {
      const merchantId = merchantOf(manager, input.merchant)
      refuseCardNumberIn('name', input.name)
      refuseCardNumberIn('owner', input.owner)
      refuseScopesBeyond(manager, input.scopes)
      const ownerUserId = userOfOwner(input.owner)
      const text = newKeyText(deps.mode)
      const inserted = await queries.insertApiKey(deps.database, {
        caller: manager,
        merchant_id: merchantId,
        key_id: keyIdOf(text),
        key_hash: digestOf(text),
        name: input.name,
        owner: input.owner,
        scopes: input.scopes,
        expires_at: input.expires_at === undefined ? null : expiryOf(input.expires_at, deps.clock.now()),
        owner_user_id: ownerUserId,
        people: peopleBehind(manager, ownerUserId),
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hash: hash('sha256', canonical(input), 'buffer'),
      })
      switch (inserted.verdict) {
        case 'no_merchant':
          throw noMerchant()
        case 'no_owner':
          throw noSuchOwner()
        case 'body_differs':
          throw keyReused()
        case 'repeated':
          throw new Failure('secret_already_shown', {
            param: 'Idempotency-Key',
            detail: `This request made the key ${inserted.key_id}.`,
          })
        case 'inserted':
          return { ...apiKeyOf(inserted.row), secret_key: text }
      }
    },

    async get(manager: Manager, keyId: string, merchant: string | undefined): Promise<ApiKey> {
      const merchantId = merchantOf(manager, merchant)
      const row = isId('apiKey', keyId)
        ? await queries.findApiKey(deps.database, merchantId, keyId)
        : undefined
      if (row === undefined) throw new Failure('not_found')
      return apiKeyOf(row)
    },

    async list(
      manager: Manager,
      filter: { merchant: string | undefined; cursor: string | undefined; limit: number },
    ) {
      const merchantId = merchantOf(manager, filter.merchant)
      checkCursor('apiKey', filter.cursor)
      const page = { cursor: filter.cursor ?? null, limit: filter.limit }
      const rows = await queries.listApiKeys(deps.database, merchantId, page)
      if (rows === undefined) throw noMerchant()
      return pageOf(rows.map(apiKeyOf), filter.limit)
    },

    /** Within five seconds nobody accepts it any more. Doing it again changes nothing. */
    async revoke(manager: Manager, keyId: string, merchant: string | undefined): Promise<void> {
      const merchantId = merchantOf(manager, merchant)
      if (!isId('apiKey', keyId)) throw new Failure('not_found')
      const key = { merchant_id: merchantId, key_id: keyId, audit_id: newId('audit') }
      const verdict = await queries.revokeApiKey(deps.database, manager, key)
      if (verdict === 'not_found') throw new Failure('not_found')
      if (verdict === 'last_admin_key') throw new Failure('last_admin_key')
    },
  }
}

/** Of an owner that is a user: then a key of theirs and they themselves are one actor. */
function userOfOwner(owner: string): string | null {
  if (!owner.startsWith(actorOf(''))) return null
  const userId = owner.slice(actorOf('').length)
  if (!isId('user', userId)) throw noSuchOwner()
  return userId
}

const noSuchOwner = () =>
  new Failure('invalid_request', {
    param: 'owner',
    detail: 'The merchant has no such user, or a disabled one.',
  })

/** Those behind the key it is made with are added when it is written. */
function peopleBehind(manager: Manager, ownerUserId: string | null): string[] {
  const maker = isId('user', manager.key_id) ? [manager.actor] : []
  return ownerUserId === null ? maker : [...maker, actorOf(ownerUserId)]
}

function expiryOf(text: string, now: Date): Date {
  const expiry = momentOf(text, 'expires_at')
  if (expiry <= now)
    throw new Failure('invalid_request', { param: 'expires_at', detail: 'It must be in the future.' })
  return expiry
}

function apiKeyOf(row: queries.ApiKeyRow): ApiKey {
  return {
    id: row.key_id,
    object: 'api_key',
    merchant: row.merchant_id,
    name: row.name,
    owner: row.owner,
    scopes: row.scopes,
    created_at: row.created_at.toISOString(),
    expires_at: row.expires_at?.toISOString() ?? null,
    revoked_at: row.revoked_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
  }
}
