/** Who manages a merchant's keys and users: its own admins, and an operator at any merchant. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { Scope } from '@coffer/core/http-server.ts'
import { isId } from '@coffer/core/ids.ts'

/** The caller with what its own key allows. */
export type Manager = Caller & { scopes: ReadonlySet<Scope> }

/** Whose are meant. @throws Failure not_found for another merchant's, unless the caller is an operator. */
export function merchantOf(manager: Manager, wanted: string | undefined): string {
  if (wanted === undefined || wanted === manager.merchant_id) return manager.merchant_id
  if (!manager.scopes.has('operator') || !isId('merchant', wanted)) throw noMerchant()
  return wanted
}

/** The same where there is none and where it is not theirs to know. */
export const noMerchant = () => new Failure('not_found', { param: 'merchant' })

/** Who gives scopes has them. */
export function refuseScopesBeyond(manager: Manager, wanted: readonly Scope[]): void {
  for (const scope of wanted)
    if (!manager.scopes.has(scope))
      throw new Failure('forbidden', {
        param: 'scopes',
        detail: `Nobody can give the scope ${scope} without having it.`,
      })
}
