/**
 * The keys in use. Each merchant has a data key of its own, which stands in the database wrapped by the
 * wrapping key; fingerprints are made with a key that is never in the database. Key objects are made once and
 * kept, because making one costs more than using it.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import { type Id, newId } from '@coffer/core/ids.ts'
import { gauge } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Secret } from '@coffer/core/secret.ts'
import * as queries from './queries.ts'

export type DataKey = { data_key_id: Id<'dataKey'>; key: KeyObject }

export type Keyring = {
  /** The merchant's current data key, with one more use counted. Made where the merchant has none yet. */
  forEncryption(merchantId: string): DataKey | Promise<DataKey>
  forDecryption(merchantId: string, dataKeyId: string): DataKey | Promise<DataKey>
  /** Keyed hash of a card number, different for each merchant (PCI DSS 3.5.1.1). */
  numberHmac(merchantId: string, number: string): Buffer
  /** Keys the hashes by which repeated request bodies are recognised. */
  bodyKey: KeyObject
}

export type RootKeys = {
  wrapping: Secret<string>
  fingerprint: Secret<string>
}

/** Handed to this process at a time; lost uses after a restart are far fewer than the limit. */
const usesBlock = 65_536
const cachedKeysMax = 10_000

type Current = DataKey & { uses_left: number }

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

export async function openKeyring(database: Database, roots: RootKeys): Promise<Keyring> {
  const wrapping = rootKey('wrapping', roots.wrapping)
  const fingerprint = rootKey('fingerprint', roots.fingerprint)
  await checkRootKey(database, 'wrapping', wrapping)
  await checkRootKey(database, 'fingerprint', fingerprint)

  const current = new Map<string, Current>()
  const renewing = new Map<string, Promise<Current>>()
  const unwrapped = new Map<string, DataKey & { opened_at_ms: number }>()
  openedKeys = unwrapped
  const fingerprintKeys = new Map<string, KeyObject>()

  async function renew(merchantId: string): Promise<Current> {
    const reserved = await queries.reserveDataKeyUses(database, merchantId, usesBlock)
    if (reserved !== undefined) return { ...unwrapRow(merchantId, reserved), uses_left: usesBlock }
    const dataKeyId = newId('dataKey')
    const wrapped = wrap(wrapping, merchantId, dataKeyId, randomBytes(32))
    await queries.insertDataKey(database, merchantId, dataKeyId, wrapped)
    return renew(merchantId)
  }

  function unwrapRow(merchantId: string, row: queries.DataKeyRow): DataKey {
    const cacheKey = `${merchantId}|${row.data_key_id}`
    const known = unwrapped.get(cacheKey)
    if (known !== undefined) return known
    const key = createSecretKey(unwrap(wrapping, merchantId, row.data_key_id, row.wrapped_key))
    return remember(unwrapped, cacheKey, {
      data_key_id: row.data_key_id,
      key,
      opened_at_ms: performance.now(),
    })
  }

  const keyring: Keyring = {
    bodyKey: createSecretKey(Buffer.from(hkdfSync('sha256', fingerprint, '', 'idempotency body', 32))),
    forEncryption(merchantId) {
      const known = current.get(merchantId)
      if (known !== undefined && known.uses_left-- > 0) return known
      let renewal = renewing.get(merchantId)
      if (renewal === undefined) {
        renewal = renew(merchantId)
          .then((key) => remember(current, merchantId, key))
          .finally(() => renewing.delete(merchantId))
        renewing.set(merchantId, renewal)
      }
      return renewal.then(() => keyring.forEncryption(merchantId))
    },
    forDecryption(merchantId, dataKeyId) {
      const known = unwrapped.get(`${merchantId}|${dataKeyId}`)
      if (known !== undefined) return known
      return queries.findDataKey(database, merchantId, dataKeyId).then((row) => unwrapRow(merchantId, row))
    },
    numberHmac(merchantId, number) {
      const key =
        fingerprintKeys.get(merchantId) ??
        remember(
          fingerprintKeys,
          merchantId,
          createSecretKey(Buffer.from(hkdfSync('sha256', fingerprint, '', merchantId, 32))),
        )
      return createHmac('sha256', key).update(number).digest()
    },
  }
  return keyring
}

function remember<Value>(cache: Map<string, Value>, name: string, value: Value): Value {
  if (cache.size >= cachedKeysMax) cache.delete(cache.keys().next().value as string)
  cache.set(name, value)
  return value
}

function rootKey(name: string, value: Secret<string>): KeyObject {
  const bytes = Buffer.from(value.expose(), 'base64')
  if (bytes.length !== 32) throw new Error(`the ${name} key must be 32 bytes in base64`)
  return createSecretKey(bytes)
}

/** A database that holds a check value of another key must not be written to: never make a new key over it. */
async function checkRootKey(database: Database, name: string, key: KeyObject): Promise<void> {
  const value = createHmac('sha256', key).update(`coffer key check ${name}`).digest()
  const stored = await queries.ensureKeyCheck(database, name, value)
  if (!stored.equals(value))
    throw new Error(
      `the ${name} key is not the one this database was written with: restore the right key file`,
    )
}

const wrapAad = (merchantId: string, dataKeyId: string) =>
  Buffer.from(`${merchantId}|${dataKeyId}|data key|1`)

function wrap(wrapping: KeyObject, merchantId: string, dataKeyId: string, key: Buffer): Buffer {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', wrapping, nonce)
  cipher.setAAD(wrapAad(merchantId, dataKeyId))
  return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()])
}

/** @throws where the row was changed, or belongs to another merchant or key id. */
function unwrap(wrapping: KeyObject, merchantId: string, dataKeyId: string, wrapped: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', wrapping, wrapped.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(wrapAad(merchantId, dataKeyId))
  decipher.setAuthTag(wrapped.subarray(-16))
  return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()])
}
