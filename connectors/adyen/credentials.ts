/** What every call to Adyen carries, and where it goes. */
import type { Account, HttpRequest, JsonValue, StepContext } from '@coffer/core/connector.ts'

/** `/v72` on the test host; live hosts have it below `/checkout`. */
const basePathUsual = '/v72'

/** Wanted by Adyen with every payment, opened only where a cardholder was sent away to authenticate. */
const returnUrlUsual = 'https://return.invalid/'

/** @throws Error where the connection does not say whose money it is. */
export function merchantAccount({ settings }: Account): string {
  const name = settings['merchant_account']
  if (name === undefined || name === '') throw new Error('the connection has no setting merchant_account')
  return name
}

export function returnUrl({ settings }: Account): string {
  return settings['return_url'] ?? returnUrlUsual
}

/** A POST below the version's path, under the key by which Adyen does it once. @throws Error for an odd setting */
export function post(path: string, json: JsonValue, context: StepContext): HttpRequest {
  const base = context.account.settings['base_path'] ?? basePathUsual
  if (!/^(\/[A-Za-z0-9_-]+)+$/.test(base)) throw new Error('the setting base_path is no path')
  return {
    method: 'POST',
    path: `${base}${path}`,
    headers: {
      'x-api-key': '{{connection.secret}}',
      'idempotency-key': context.psp_idempotency_key,
    },
    body: { json },
  }
}
