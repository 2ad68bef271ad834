/** What stands for a card at a PSP, as an attempt uses it. Plain data. */
import type { Connector, Outcome } from '@coffer/core/connector.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import type { Ending } from '../payments/machine.ts'
import type { Payment } from '../payments/schemas.ts'

/** `token` is null where it has ended since the attempt began: what was sent with it cannot be made again. */
export type HeldToken = { id: string; token: string | null }

export const tokenSources = ['imported', 'kept'] as const
export const tokenStatuses = ['active', 'replaced', 'deleted', 'refused', 'erased'] as const

/** The setting by which an account's tokens are kept as its PSP tells them. */
const keepSetting = 'keep_psp_tokens'

/** No token longer than this, and none that is not plain printable text without braces, goes into a request. */
const keepable = /^[\x21-\x7a\x7c\x7e]{1,400}$/

type Told = { psp_token?: string }

/** Takes the token out of an outcome, unless the account asks to keep those and it is one that can be sent again. */
export function withoutUnwantedToken<Kind extends Outcome | { kind: 'not_sent' }>(
  { connection, psp_token }: Pick<AttemptPlan, 'connection' | 'psp_token'>,
  told: Kind,
): Kind {
  if (!('psp_token' in told)) return told
  const { psp_token: found, ...rest } = told as Kind & Told
  // What was charged with a token tells the same one again.
  const isWanted = connection.settings[keepSetting] === 'true' && psp_token === null
  return isWanted && found !== undefined && keepable.test(found) ? told : (rest as unknown as Kind)
}

/** Whether the PSP has definitely refused the token itself: the number may be charged then, at the same account. */
export function isTokenRefused(connector: Connector, plan: AttemptPlan, ending: Ending): boolean {
  if (plan.psp_token === null || ending.kind !== 'rejected') return false
  return connector.psp_tokens?.not_found_codes.includes(ending.psp_code) ?? false
}

/** The attempt that has just begun, with what it charges as the database has found it. */
export function withToken<Begun extends { plan: AttemptPlan; payment: Payment }>(
  begun: Begun,
  psp_token: HeldToken | null,
): Begun {
  if (psp_token === null) return begun
  const { plan, payment } = begun
  const attempts = payment.attempts.map((attempt) =>
    attempt.id === plan.attempt_id ? { ...attempt, credential: 'psp_token' as const } : attempt,
  )
  return { ...begun, plan: { ...plan, psp_token }, payment: { ...payment, attempts } }
}
