/** Where CVCs are kept: in this process, or in a store that several vaults share. */
import { type ConfigOf, oneOf, optionalSecret } from '@coffer/core/config.ts'
import type { Log } from '@coffer/core/log.ts'
import { type CvcLeases, createCvcLeases } from './cvc-leases.ts'
import { openSharedCvcLeases } from './shared-cvc-leases.ts'

export const cvcSettings = {
  VAULT_CVC_STORE_URL: optionalSecret(
    'Valkey or Redis (redis://, rediss://) that several vaults share for CVCs',
  ),
  VAULT_CVC_STORE_KEY: optionalSecret('32 bytes in base64: seals CVCs in it; the same for all vaults'),
  VAULT_CVC_STORE_IS_VOLATILE: oneOf(
    'whether it, and each replica, is known to keep nothing on disk, where it does not tell',
    ['yes', 'no'],
    'no',
  ),
}

type CvcConfig = ConfigOf<typeof cvcSettings>

const loopback = new Set(['127.0.0.1', '[::1]', 'localhost'])

/** What is wrong with the settings that are right each by itself. */
export function cvcConfigProblems(config: CvcConfig & { COFFER_MODE: 'sandbox' | 'live' }): string[] {
  const url = config.VAULT_CVC_STORE_URL?.expose()
  const key = config.VAULT_CVC_STORE_KEY?.expose()
  if (url === undefined && key === undefined) return []
  if (url === undefined || key === undefined)
    return ['VAULT_CVC_STORE_URL and VAULT_CVC_STORE_KEY are set together or not at all']
  const problems: string[] = []
  const { protocol, hostname } = URL.canParse(url) ? new URL(url) : { protocol: '', hostname: '' }
  if (protocol !== 'redis:' && protocol !== 'rediss:')
    problems.push('VAULT_CVC_STORE_URL must be a redis:// or rediss:// address')
  else if (config.COFFER_MODE === 'live' && protocol === 'redis:' && !loopback.has(hostname))
    problems.push('VAULT_CVC_STORE_URL must be a rediss:// address, but for a server on this machine')
  if (Buffer.from(key, 'base64').length !== 32)
    problems.push('VAULT_CVC_STORE_KEY must be 32 bytes in base64')
  return problems
}

/** @throws where the store keeps what it is given on disk. */
export async function openCvcLeases(config: CvcConfig, log: Log): Promise<CvcLeases> {
  const { VAULT_CVC_STORE_URL: url, VAULT_CVC_STORE_KEY: key } = config
  if (url === undefined || key === undefined) return createCvcLeases()
  return openSharedCvcLeases({
    url,
    key,
    is_declared_volatile: config.VAULT_CVC_STORE_IS_VOLATILE === 'yes',
    log,
  })
}
