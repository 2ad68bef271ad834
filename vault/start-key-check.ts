/** For the doctor: whether the key provider does what a vault needs of it. */
import { randomBytes } from 'node:crypto'
import { readConfig } from '@coffer/core/config.ts'
import { keySettings, openWrappingKeys } from './keys/provider.ts'
import { dataKeyContext, WrongKey } from './keys/wrapping-keys.ts'

export type KeyCheck = { status: 'ok' | 'warning' | 'failed'; found: string; todo?: string }

/** Wraps and unwraps a key that nobody uses, and sees that it does not unwrap as another merchant's. */
export async function startKeyCheck(environment: Record<string, string | undefined>): Promise<KeyCheck> {
  const config = readConfig(keySettings, environment)
  const provider = config.VAULT_KEY_PROVIDER
  if (provider === 'shamir')
    return { status: 'ok', found: `shares of key ${config.VAULT_SHAMIR_KEY_ID}: each process starts sealed` }
  const { wrappingKeys } = await openWrappingKeys(config)
  try {
    const key = randomBytes(32)
    const wrapped = await wrappingKeys.wrap(key, dataKeyContext('mer_one', 'probe'))
    const unwrapped = await wrappingKeys.unwrap(wrapped, dataKeyContext('mer_one', 'probe'))
    const isBound = await wrappingKeys.unwrap(wrapped, dataKeyContext('mer_other', 'probe')).then(
      () => false,
      (error: unknown) => error instanceof WrongKey,
    )
    if (!unwrapped.equals(key) || !isBound)
      return {
        status: 'failed',
        found: `${provider} does not bind keys to what they are for`,
        todo: 'use a key of type aes256-gcm96 and a server that authenticates associated data',
      }
    const found = `${provider} wraps with ${wrapped.wrapping_key_id}`
    if (provider !== 'local' || environment['COFFER_MODE'] === 'sandbox') return { status: 'ok', found }
    const todo =
      'a file is as safe as its machine and its backups: consider a key service or shares (docs/keys.md)'
    return { status: 'warning', found, todo }
  } catch (error) {
    const cause = (error as Error).cause ?? error
    const todo = 'see that it can be reached, that the key is enabled, and that this login may use it'
    return { status: 'failed', found: `${provider}: ${(cause as Error).message}`, todo }
  } finally {
    wrappingKeys.close?.()
  }
}
