/** Which provider stands above the data keys, as the settings choose it. */
import { type ConfigOf, integer, oneOf, optionalSecretKey, secretKeys } from '@coffer/core/config.ts'
import { guardKeys } from './guarded-keys.ts'
import type { CacheLimits } from './key-cache.ts'
import { createLocalKeys } from './local-keys.ts'
import type { WrappingKeys } from './wrapping-keys.ts'

export const keySettings = {
  VAULT_KEY_PROVIDER: oneOf('what wraps the data keys', ['local'], 'local'),
  VAULT_KEY_PROVIDER_TIMEOUT_MS: integer('time the provider has for a call', {
    min: 100,
    max: 10_000,
    fallback: 2_000,
  }),
  VAULT_KEY_AGE_MS: integer('time after which a key is used no more unless the provider opened it again', {
    min: 1_000,
    max: 3_600_000,
    fallback: 300_000,
  }),
  VAULT_KEY_USES_MAX: integer('uses after which a key is used no more unless it was opened again', {
    min: 1_000,
    max: 1_000_000_000,
    fallback: 1_000_000,
  }),
  VAULT_WRAPPING_KEY: optionalSecretKey(
    '32 bytes in base64: wraps the data keys where the provider is local',
  ),
  VAULT_PREVIOUS_WRAPPING_KEYS: secretKeys('wrapping keys that it followed: they unwrap, but wrap nothing'),
  VAULT_FINGERPRINT_KEY: optionalSecretKey(
    '32 bytes in base64: keys the hashes of card numbers, where the database does not hold one yet',
  ),
}

export type KeyConfig = ConfigOf<typeof keySettings>

/** What is missing for the provider that was chosen. */
export function keyConfigProblems(config: KeyConfig): string[] {
  const problems: string[] = []
  if (config.VAULT_KEY_PROVIDER === 'local' && config.VAULT_WRAPPING_KEY === undefined)
    problems.push('VAULT_WRAPPING_KEY (or VAULT_WRAPPING_KEY_FILE) is not set: 32 bytes in base64')
  if (config.VAULT_KEY_PROVIDER_TIMEOUT_MS * 4 > config.VAULT_KEY_AGE_MS)
    problems.push('VAULT_KEY_PROVIDER_TIMEOUT_MS must be a quarter of VAULT_KEY_AGE_MS or less')
  return problems
}

export function cacheLimitsOf(config: KeyConfig): CacheLimits {
  return { age_ms_max: config.VAULT_KEY_AGE_MS, uses_max: config.VAULT_KEY_USES_MAX }
}

export async function openWrappingKeys(config: KeyConfig): Promise<WrappingKeys> {
  const keys = createLocalKeys(config.VAULT_WRAPPING_KEY!, config.VAULT_PREVIOUS_WRAPPING_KEYS)
  return guardKeys(keys, { deadline_ms: config.VAULT_KEY_PROVIDER_TIMEOUT_MS })
}
