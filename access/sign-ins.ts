/** Users who come with a token of the identity provider, in place of an API key. */
import { Failure } from '@coffer/core/errors.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Admitted } from './keys.ts'
import { type People, scopesWithin } from './people.ts'
import * as queries from './queries.ts'
import { actorOf } from './users/users.ts'

export type SignIns = ReturnType<typeof createSignIns>

/** @param deps.people Undefined where the deployment has no identity provider: then nobody comes in this way. */
export function createSignIns(deps: { relayDatabase: Database; people: People | undefined }) {
  const { relayDatabase, people } = deps
  return {
    /**
     * Undefined for whoever is none of our users.
     * @throws Failure unauthenticated, unavailable: see `People`.
     */
    async admit(token: string): Promise<Admitted | undefined> {
      const person = await people?.verify(token).catch(unlessUnknown)
      if (person === undefined) return undefined
      const user = await queries.findPerson(relayDatabase, person.issuer, person.subject)
      if (user === undefined) return undefined
      return {
        ...admittedOf(user, person.expires_at),
        scopes: scopesWithin(user.scopes, person.scopes_max),
      }
    },

    /** The user of a token of ours, if they may still come in. */
    async find(userId: string): Promise<Admitted | undefined> {
      const user = await queries.findActiveUser(relayDatabase, userId)
      return user && admittedOf(user, null)
    },
  }
}

/** A token that is not good looks like one of nobody. */
function unlessUnknown(error: unknown): undefined {
  if (error instanceof Failure && error.code === 'unauthenticated') return undefined
  throw error
}

function admittedOf(user: queries.KnownUserRow, expiresAt: Date | null): Admitted {
  return {
    key_id: user.user_id,
    merchant_id: user.merchant_id,
    owner: actorOf(user.user_id),
    scopes: user.scopes,
    expires_at: expiresAt,
  }
}
