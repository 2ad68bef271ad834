/**
 * Which account a secret key belongs to. Any test key will do; the account is in it, as it is in Stripe's
 * own.
 */
import { Buffer } from 'node:buffer'
import { StripeError } from './errors.ts'

const accountsMax = 1_000

const refuse = (message: string) => new StripeError(401, { message })

function readSecretKey(authorization: string | undefined): string {
  const [, scheme = '', credentials = ''] = /^(\S+) +(\S+)$/.exec(authorization ?? '') ?? []
  if (scheme.toLowerCase() === 'bearer') return credentials
  if (scheme.toLowerCase() === 'basic')
    return Buffer.from(credentials, 'base64').toString('utf8').split(':', 1)[0] ?? ''
  throw refuse('You did not provide an API key. Provide it in a header: Authorization: Bearer sk_test_KEY.')
}

const exempting = 'mit_'

/** Whether the account may tell the network's identifiers of earlier payments: those whose name begins with `mit`. */
export const mayExempt = (account: string): boolean => account.startsWith(exempting)

/**
 * `sk_test_ACCOUNT_anything`: several keys of one account share what stands before the next underscore;
 * without one, each key is an account of its own. Only a digest of it is kept.
 * @returns a function that throws StripeError 401 where there is no key, or a live one.
 */
export function accountReader(
  digest: (text: string) => string,
): (authorization: string | undefined) => string {
  const accounts = new Map<string, string>()
  return (authorization) => {
    const known = accounts.get(authorization ?? '')
    if (known !== undefined) return known
    const key = readSecretKey(authorization)
    if (/^[sr]k_live_/.test(key))
      throw refuse('This is a simulator: live keys are refused, and never belong here.')
    const [, name] = /^[sr]k_test_([^_]+)/.exec(key) ?? []
    if (name === undefined || key.length > 500)
      throw refuse('Invalid API Key provided; the simulator takes any that begins with sk_test_.')
    const account = (name.startsWith('mit') ? exempting : '') + digest(`account ${name}`).slice(0, 10)
    if (accounts.size >= accountsMax) accounts.clear()
    accounts.set(authorization!, account)
    return account
  }
}
