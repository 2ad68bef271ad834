/** Which provider stands above the data keys, as the settings choose it. */
import {
  type ConfigOf,
  integer,
  oneOf,
  optionalSecretKey,
  optionalText,
  secretKeys,
  text,
} from '@coffer/core/config.ts'
import { createAwsKms, kmsKeyArn } from './aws-kms.ts'
import { guardKeys } from './guarded-keys.ts'
import type { CacheLimits } from './key-cache.ts'
import { createLocalKeys } from './local-keys.ts'
import { createOpenBao } from './openbao.ts'
import { createShamirKeys, type ShamirKeys } from './shamir-keys.ts'
import { type WrappingKeys, WrongKey } from './wrapping-keys.ts'

const providers = ['local', 'aws-kms', 'openbao', 'shamir'] as const
type Provider = (typeof providers)[number]

export const keySettings = {
  VAULT_KEY_PROVIDER: oneOf('what wraps the data keys', providers, 'local'),
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
  VAULT_KMS_KEY_ARN: optionalText('ARN of the key of AWS KMS, arn:aws:kms:…:key/…'),
  VAULT_KMS_PREVIOUS_KEY_ARNS: text('ARNs of keys that it followed, separated by commas', ''),
  VAULT_KMS_ENDPOINT: optionalText(
    "address of AWS KMS, of a VPC endpoint for example; else the region's own",
  ),
  VAULT_OPENBAO_URL: optionalText('address of OpenBao or HashiCorp Vault'),
  VAULT_OPENBAO_CA: optionalText('PEM of the authority that signed its certificate'),
  VAULT_OPENBAO_TOKEN_PATH: optionalText('the file its token is in, read again whenever it changes'),
  VAULT_OPENBAO_MOUNT: text('where its transit engine is mounted', 'transit'),
  VAULT_OPENBAO_KEY: text('name of the key there, of type aes256-gcm96', 'coffer'),
  VAULT_OPENBAO_NAMESPACE: optionalText('namespace to ask in'),
  VAULT_SHAMIR_KEY_ID: optionalText('id of the key that is in shares, as `coffer keys split` printed it'),
  VAULT_SHAMIR_PREVIOUS_KEY_IDS: text('ids of keys that it followed, separated by commas', ''),
}

export type KeyConfig = ConfigOf<typeof keySettings>

const pathPart = /^[A-Za-z0-9_.-]+$/

/** What is missing or wrong for the provider that was chosen, and for those that still unwrap. */
export function keyConfigProblems(config: KeyConfig & { COFFER_MODE: 'sandbox' | 'live' }): string[] {
  const provider: Provider = config.VAULT_KEY_PROVIDER
  const problems: string[] = []
  const require = (names: (keyof KeyConfig)[]) => {
    for (const name of names)
      if (config[name] === undefined)
        problems.push(`${name} (or ${name}_FILE) is not set: ${keySettings[name].describe}`)
  }
  if (provider === 'local') require(['VAULT_WRAPPING_KEY'])
  if (provider === 'aws-kms') require(['VAULT_KMS_KEY_ARN'])
  if (provider === 'openbao') require(['VAULT_OPENBAO_URL'])
  if (provider === 'shamir') require(['VAULT_SHAMIR_KEY_ID'])
  if (config.VAULT_OPENBAO_URL !== undefined) require(['VAULT_OPENBAO_TOKEN_PATH'])
  for (const id of [config.VAULT_SHAMIR_KEY_ID ?? [], listed(config.VAULT_SHAMIR_PREVIOUS_KEY_IDS)].flat())
    if (!/^[0-9a-f]{32}$/.test(id)) problems.push('VAULT_SHAMIR_…KEY_ID…: must be ids of 32 hex digits')
  const arns = [config.VAULT_KMS_KEY_ARN ?? [], listed(config.VAULT_KMS_PREVIOUS_KEY_ARNS)].flat()
  for (const arn of arns)
    if (!kmsKeyArn.test(arn)) problems.push('VAULT_KMS_…ARN…: must be ARNs of keys, arn:aws:kms:…:key/…')
  for (const name of ['VAULT_KMS_ENDPOINT', 'VAULT_OPENBAO_URL'] as const) {
    const url = config[name]
    const isUrl = url === undefined || /^https?:\/\/[^/?#]+\/?$/.test(url)
    if (!isUrl) problems.push(`${name}: must be an address without a path, https://…`)
    else if (url !== undefined && !url.startsWith('https:') && config.COFFER_MODE !== 'sandbox')
      problems.push(`${name}: must be https`)
  }
  if (!config.VAULT_OPENBAO_MOUNT.split('/').every((part) => pathPart.test(part)))
    problems.push('VAULT_OPENBAO_MOUNT: must be a path such as transit')
  if (!pathPart.test(config.VAULT_OPENBAO_KEY)) problems.push('VAULT_OPENBAO_KEY: must be a name')
  if (config.VAULT_KEY_PROVIDER_TIMEOUT_MS * 4 > config.VAULT_KEY_AGE_MS)
    problems.push('VAULT_KEY_PROVIDER_TIMEOUT_MS must be a quarter of VAULT_KEY_AGE_MS or less')
  return problems
}

function listed(value: string): string[] {
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

export function cacheLimitsOf(config: KeyConfig): CacheLimits {
  return { age_ms_max: config.VAULT_KEY_AGE_MS, uses_max: config.VAULT_KEY_USES_MAX }
}

/** Wraps by the provider that is chosen, and unwraps by each that is set up: so one can be left for another. */
export async function openWrappingKeys(
  config: KeyConfig,
): Promise<{ wrappingKeys: WrappingKeys; shamirKeys: ShamirKeys | undefined }> {
  const opened = new Map<string, WrappingKeys>()
  const deadline_ms = config.VAULT_KEY_PROVIDER_TIMEOUT_MS
  const add = (provider: Provider, keys: WrappingKeys) =>
    opened.set(provider, guardKeys(keys, { deadline_ms }))
  if (config.VAULT_WRAPPING_KEY !== undefined)
    add('local', createLocalKeys(config.VAULT_WRAPPING_KEY, config.VAULT_PREVIOUS_WRAPPING_KEYS))
  if (config.VAULT_KMS_KEY_ARN !== undefined)
    add(
      'aws-kms',
      await createAwsKms({
        key_arn: config.VAULT_KMS_KEY_ARN,
        previous_key_arns: listed(config.VAULT_KMS_PREVIOUS_KEY_ARNS),
        endpoint: config.VAULT_KMS_ENDPOINT,
        deadline_ms,
      }),
    )
  if (config.VAULT_OPENBAO_URL !== undefined)
    add(
      'openbao',
      createOpenBao({
        url: config.VAULT_OPENBAO_URL,
        ca: config.VAULT_OPENBAO_CA,
        token_file: config.VAULT_OPENBAO_TOKEN_PATH!,
        mount: config.VAULT_OPENBAO_MOUNT,
        key_name: config.VAULT_OPENBAO_KEY,
        namespace: config.VAULT_OPENBAO_NAMESPACE,
        deadline_ms,
      }),
    )
  let shamirKeys: ShamirKeys | undefined
  if (config.VAULT_SHAMIR_KEY_ID !== undefined) {
    const previous = listed(config.VAULT_SHAMIR_PREVIOUS_KEY_IDS)
    shamirKeys = createShamirKeys(config.VAULT_SHAMIR_KEY_ID, previous)
    add('shamir', shamirKeys)
  }
  return { wrappingKeys: byProvider(opened.get(config.VAULT_KEY_PROVIDER)!, opened), shamirKeys }
}

/** Ids begin with the provider's name. */
function byProvider(chosen: WrappingKeys, opened: ReadonlyMap<string, WrappingKeys>): WrappingKeys {
  return {
    wrap: chosen.wrap,
    currentId: chosen.currentId,
    isSealed: () => chosen.isSealed?.() === true,
    async unwrap(wrapped, context) {
      const provider = wrapped.wrapping_key_id.split(':', 1)[0]!
      const keys = opened.get(provider)
      if (keys === undefined) throw new WrongKey(`a key is wrapped by ${provider}, which is not set up`)
      return keys.unwrap(wrapped, context)
    },
    hasKeyOf: (checkValue) => [...opened.values()].some((keys) => keys.hasKeyOf?.(checkValue) === true),
    close() {
      for (const keys of opened.values()) keys.close?.()
    },
  }
}
