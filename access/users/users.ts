/** People of a merchant who sign in at the identity provider: who they are there, and what they may do here. */

import { hash } from 'node:crypto'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { canonical, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { type Manager, merchantOf, noMerchant, refuseScopesBeyond } from '../manager.ts'
import * as queries from './queries.ts'
import type { NewUser, User, UserChange } from './schemas.ts'

export type Users = ReturnType<typeof createUsers>

/** @param deps.issuer The identity provider of this deployment, if it has one. */
export function createUsers(deps: { database: Database; clock: Clock; issuer: string | undefined }) {
  async function change(
    manager: Manager,
    userId: string,
    merchant: string | undefined,
    changes: queries.UserChanges,
    action: string,
  ): Promise<User> {
    const merchantId = merchantOf(manager, merchant)
    if (!isId('user', userId)) throw new Failure('not_found')
    const user = { merchant_id: merchantId, user_id: userId, actor: actorOf(userId), action }
    const changed = await queries.changeUser(deps.database, manager, user, changes)
    if (changed === 'not_found') throw new Failure('not_found')
    if (changed === 'exists') throw new Failure('user_exists')
    return userOf(changed)
  }

  return {
    /** The same key with the same body gives the first answer again. */
    async create(
      manager: Manager,
      input: NewUser,
      idempotencyKey: string | null,
      serialize: (user: User) => string,
    ): Promise<StoredAnswer> {
      const merchantId = merchantOf(manager, input.merchant)
      refuseCardNumberIn('name', input.name)
      refuseCardNumberIn('subject', input.subject)
      refuseCardNumberIn('issuer', input.issuer ?? '')
      refuseScopesBeyond(manager, input.scopes)
      const now = deps.clock.now()
      const row: queries.UserRow = {
        user_id: newId('user'),
        merchant_id: merchantId,
        issuer: input.issuer ?? deps.issuer ?? noIssuer(),
        subject: input.subject,
        name: input.name,
        scopes: input.scopes,
        created_at: now,
        updated_at: now,
        disabled_at: null,
      }
      const answer = serialize(userOf(row))
      const inserted = await queries.insertUser(deps.database, manager, {
        ...row,
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hash: hash('sha256', canonical(input), 'buffer'),
        response_body: answer,
      })
      switch (inserted.verdict) {
        case 'inserted':
          return { status: 201, body: answer }
        case 'repeated':
          return inserted.answer
        case 'body_differs':
          throw keyReused()
        case 'exists':
          throw new Failure('user_exists', { param: 'subject' })
        case 'no_merchant':
          throw noMerchant()
      }
    },

    async get(manager: Manager, userId: string, merchant: string | undefined): Promise<User> {
      const merchantId = merchantOf(manager, merchant)
      const row = isId('user', userId) ? await queries.findUser(deps.database, merchantId, userId) : undefined
      if (row === undefined) throw new Failure('not_found')
      return userOf(row)
    },

    async list(
      manager: Manager,
      filter: { merchant: string | undefined; cursor: string | undefined; limit: number },
    ) {
      const merchantId = merchantOf(manager, filter.merchant)
      checkCursor('user', filter.cursor)
      const page = { cursor: filter.cursor ?? null, limit: filter.limit }
      const rows = await queries.listUsers(deps.database, merchantId, page)
      if (rows === undefined) throw noMerchant()
      return pageOf(rows.map(userOf), filter.limit)
    },

    /** Who is disabled is let in nowhere within five seconds, and loses their API keys for good. */
    async change(manager: Manager, userId: string, merchant: string | undefined, input: UserChange) {
      refuseCardNumberIn('name', input.name ?? '')
      refuseScopesBeyond(manager, input.scopes ?? [])
      const { name = null, scopes = null, status = null } = input
      return change(manager, userId, merchant, { name, scopes, status }, 'user.update')
    },

    /** Disables them, and says so in the audit trail. Doing it again changes nothing. */
    async remove(manager: Manager, userId: string, merchant: string | undefined): Promise<void> {
      const changes = { name: null, scopes: null, status: 'disabled' } as const
      await change(manager, userId, merchant, changes, 'user.disable')
    },
  }
}

/** Who acts, in the audit trail and for dual control: the same by whichever way they come. */
export const actorOf = (userId: string) => `user:${userId}`

function noIssuer(): never {
  const detail = 'This deployment has no identity provider of its own.'
  throw new Failure('invalid_request', { param: 'issuer', detail })
}

function userOf(row: queries.UserRow): User {
  return {
    id: row.user_id,
    object: 'user',
    merchant: row.merchant_id,
    issuer: row.issuer,
    subject: row.subject,
    name: row.name,
    scopes: row.scopes,
    status: row.disabled_at === null ? 'active' : 'disabled',
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}
