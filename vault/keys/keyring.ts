/**
 * The keys in use. Each merchant has a data key of its own; data keys and the keys of fingerprints stand in the
 * database, wrapped by a provider. Key objects are made once and kept, because making one costs more than using it.
 */
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { type Id, newId } from '@coffer/core/ids.ts'
import { gauge } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Secret } from '@coffer/core/secret.ts'
import { openFingerprintKeys } from './fingerprint-keys.ts'
import { type Fingerprints, openFingerprints } from './fingerprints.ts'
import * as queries from './queries.ts'
import { dataKeyContext, type WrappingKeys } from './wrapping-keys.ts'

export type DataKey = { data_key_id: Id<'dataKey'>; key: KeyObject }

export type Keyring = {
  /** The merchant's current data key, with one more use counted. Made where the merchant has none yet. */
  forEncryption(merchantId: string): DataKey | Promise<DataKey>
  forDecryption(merchantId: string, dataKeyId: string): DataKey | Promise<DataKey>
  /** The hashes of numbers, and the keys of those of request bodies. */
  fingerprints: Fingerprints
}

/** Handed to this process at a time; lost uses after a restart are far fewer than the limit. */
const usesBlock = 65_536
const cachedKeysMax = 10_000

type Current = DataKey & { uses_left: number }
type Opened = DataKey & { opened_at_ms: number }

/** In the order they were opened. */
let openedKeys: ReadonlyMap<string, { opened_at_ms: number }> = new Map()
gauge(
  'coffer_key_cache_age_seconds',
  'Time since the oldest data key in memory was opened; 0 where there is none.',
  [],
  (age) => {
    const oldest = openedKeys.values().next().value
    age.set(oldest === undefined ? 0 : (performance.now() - oldest.opened_at_ms) / 1_000)
  },
)

/**
 * @param fingerprintKey the first one, for a database from a time when it was kept in a file only.
 * @throws where the keys are not those that the database was written with, or the provider does not answer.
 */
export async function openKeyring(
  database: Database,
  wrappingKeys: WrappingKeys,
  fingerprintKey?: Secret<string>,
): Promise<Keyring> {
  const fingerprints = await openFingerprints(database, () =>
    openFingerprintKeys(database, wrappingKeys, fingerprintKey),
  )

  const current = new Map<string, Current>()
  const renewing = new Map<string, Promise<Current>>()
  const unwrapped = new Map<string, Opened>()
  const unwrapping = new Map<string, Promise<Opened>>()
  openedKeys = unwrapped

  async function renew(merchantId: string): Promise<Current> {
    const reserved = await queries.reserveDataKeyUses(database, merchantId, usesBlock)
    if (reserved !== undefined) return { ...(await openRow(merchantId, reserved)), uses_left: usesBlock }
    const dataKeyId = newId('dataKey')
    const wrapped = await wrappingKeys.wrap(randomBytes(32), dataKeyContext(merchantId, dataKeyId))
    await queries.insertDataKey(database, merchantId, dataKeyId, wrapped)
    return renew(merchantId)
  }

  /** However many ask for a key at once, it is unwrapped once. */
  function openRow(merchantId: string, row: queries.DataKeyRow): Opened | Promise<Opened> {
    const cacheKey = `${merchantId}|${row.data_key_id}`
    return (
      unwrapped.get(cacheKey) ??
      shared(unwrapping, cacheKey, async () => {
        const bytes = await wrappingKeys.unwrap(row, dataKeyContext(merchantId, row.data_key_id))
        const opened = {
          data_key_id: row.data_key_id,
          key: createSecretKey(bytes),
          opened_at_ms: performance.now(),
        }
        bytes.fill(0)
        return remember(unwrapped, cacheKey, opened)
      })
    )
  }

  const keyring: Keyring = {
    fingerprints,
    forEncryption(merchantId) {
      const known = current.get(merchantId)
      if (known !== undefined && known.uses_left-- > 0) return known
      return shared(renewing, merchantId, async () =>
        remember(current, merchantId, await renew(merchantId)),
      ).then(() => keyring.forEncryption(merchantId))
    },
    forDecryption(merchantId, dataKeyId) {
      const known = unwrapped.get(`${merchantId}|${dataKeyId}`)
      if (known !== undefined) return known
      return queries.findDataKey(database, merchantId, dataKeyId).then((row) => openRow(merchantId, row))
    },
  }
  return keyring
}

function remember<Value>(cache: Map<string, Value>, name: string, value: Value): Value {
  if (cache.size >= cachedKeysMax) cache.delete(cache.keys().next().value as string)
  cache.set(name, value)
  return value
}

/** The work of that name that is under way, or else this. */
function shared<Value>(
  underWay: Map<string, Promise<Value>>,
  name: string,
  work: () => Promise<Value>,
): Promise<Value> {
  let promise = underWay.get(name)
  if (promise === undefined) {
    promise = work().finally(() => underWay.delete(name))
    underWay.set(name, promise)
  }
  return promise
}
