/** Which account a secret key belongs to: each key is an account of its own. */
import { CheckoutError } from './errors.ts'

const accountsMax = 1_000

/**
 * `Bearer sk_sbox_…`, and the key alone as older clients send it. Only a digest of it is kept.
 * @returns a function that throws CheckoutError 401 where there is no key, or a live one.
 */
export function accountReader(
  digest: (text: string) => string,
): (authorization: string | undefined) => string {
  const accounts = new Map<string, string>()
  return (authorization = '') => {
    const known = accounts.get(authorization)
    if (known !== undefined) return known
    const [, key] = /^(?:bearer +)?(sk_(?:sbox|test)_\S{1,200})$/i.exec(authorization) ?? []
    if (key === undefined) throw new CheckoutError(401)
    const account = digest(`account ${key}`).slice(0, 10)
    if (accounts.size >= accountsMax) accounts.clear()
    accounts.set(authorization, account)
    return account
  }
}
