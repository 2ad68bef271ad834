/**
 * The keys in use. Each merchant has a data key of its own; data keys and the keys of fingerprints stand in the
 * database, wrapped by a provider. A keyring is closed until the provider has opened the fingerprint keys, and again
 * when it has not opened them anew for as long as keys are kept.
 */
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import { type Id, newId } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Secret } from '@coffer/core/secret.ts'
import { openFingerprintKeys } from './fingerprint-keys.ts'
import { type Fingerprints, openFingerprints } from './fingerprints.ts'
import { type CachedKey, type CacheLimits, createKeyCache } from './key-cache.ts'
import * as queries from './queries.ts'
import { dataKeyContext, type WrappingKeys } from './wrapping-keys.ts'

export type DataKey = { readonly data_key_id: Id<'dataKey'>; readonly key: KeyObject }

export type EndedKey = { merchant_id: string; data_key_id: string; is_revoked: boolean }

/** While it is closed, each of them throws the Failure that `ready` throws. */
export type Keyring = {
  /** The merchant's current data key, with one more use counted. Made where the merchant has none yet. */
  forEncryption(merchantId: string): DataKey | Promise<DataKey>
  forDecryption(merchantId: string, dataKeyId: string): DataKey | Promise<DataKey>
  /** The hashes of numbers, and the keys of those of request bodies. */
  readonly fingerprints: Fingerprints
  /** Makes a further data key of the merchant. */
  addDataKey(merchantId: string): Promise<Id<'dataKey'>>
  /** Keys have changed: those named encrypt no more, and the revoked ones among them are in memory no more. */
  takeNotice(ended: readonly EndedKey[]): Promise<void>
  /** Nothing has changed since then, by `performance.now()`: what is in memory may be used for five more seconds. */
  trustSince(askedAtMs: number): void
  /** @throws Failure keys_unavailable or vault_sealed while it is closed. */
  ready(): void
  /** Opens it now. @throws where it cannot, and another error than a Failure where it is not this database's. */
  open(): Promise<void>
  stop(): Promise<void>
}

export type KeyringDeps = {
  database: Database
  wrappingKeys: WrappingKeys
  /** The first one, for a database from a time when it was kept in a file only. */
  fingerprintKey: Secret<string> | undefined
  limits: CacheLimits
  log: Log
}

/** What a route that needs keys can answer. */
export const keyFailures = ['vault_sealed', 'keys_unavailable', 'keys_destroyed'] as const

/** A revoked key is used nowhere any more within this time. */
const trustMs = 5_000
/** Without notices, everything in memory is read anew this often. */
const distrustedMs = 1_000

/** Handed to this process at a time; lost uses after a restart are far fewer than the limit. */
const usesBlock = 65_536
const currentMax = 10_000

/** What is left of a block stays this process's while the key itself has to be opened again. */
type Current = { data_key_id: Id<'dataKey'>; uses_left: number; key: CachedKey | undefined }

/** Open where the provider opens it; else it goes on trying. @throws where it is another database's. */
export async function openKeyring(deps: KeyringDeps): Promise<Keyring> {
  const { database, wrappingKeys, limits, log } = deps
  const openKeys = () => openFingerprintKeys(database, wrappingKeys, deps.fingerprintKey)
  const fingerprints = await openFingerprints(database, openKeys, { age_ms_max: limits.age_ms_max, log })
  const current = new Map<string, Current>()
  const renewing = new Map<string, Promise<void>>()
  /** Nobody follows the notices until `trustSince` is called. */
  let trustedUntilMs = Number.POSITIVE_INFINITY
  let noticesTaken = 0

  async function unwrapRow(merchantId: string, row: queries.DataKeyRow): Promise<KeyObject> {
    const bytes = await wrappingKeys.unwrap(row, dataKeyContext(merchantId, row.data_key_id))
    const key = createSecretKey(bytes)
    bytes.fill(0)
    return key
  }

  async function unwrapById(merchantId: string, dataKeyId: string): Promise<KeyObject | undefined> {
    const row = await queries.findDataKey(database, merchantId, dataKeyId)
    return row === undefined ? undefined : unwrapRow(merchantId, row)
  }

  const cache = createKeyCache({
    limits,
    log,
    unwrapAgain: (merchantId, dataKeyId) =>
      unwrapById(merchantId, dataKeyId).catch((error: unknown) => {
        if (isKeysDestroyed(error)) return undefined
        throw error
      }),
  })

  function openById(merchantId: string, dataKeyId: Id<'dataKey'>): Promise<CachedKey> {
    return cache.open(merchantId, dataKeyId, async () => {
      const key = await unwrapById(merchantId, dataKeyId)
      if (key === undefined) throw new Error(`there is no data key ${dataKeyId}`)
      return key
    })
  }

  async function addDataKey(merchantId: string): Promise<Id<'dataKey'>> {
    const dataKeyId = newId('dataKey')
    const wrapped = await wrappingKeys.wrap(randomBytes(32), dataKeyContext(merchantId, dataKeyId))
    const isAdded = await queries.insertDataKey(database, merchantId, dataKeyId, wrapped)
    if (!isAdded) throw new Failure('keys_destroyed')
    return dataKeyId
  }

  function forgetAll(): void {
    noticesTaken++
    current.clear()
    cache.forget(() => true)
  }

  /** While nobody tells which keys were revoked, the database is asked for each again and again. */
  function ready(): void {
    fingerprints.ready()
    const nowMs = performance.now()
    if (nowMs < trustedUntilMs) return
    forgetAll()
    trustedUntilMs = nowMs + distrustedMs
  }

  /** Sees that there are uses for this process first, and then to the key: uses are not lost where it does not open. */
  async function renew(merchantId: string): Promise<void> {
    const known = current.get(merchantId)
    if (known !== undefined && known.uses_left > 0) {
      known.key = await openById(merchantId, known.data_key_id)
      return
    }
    const noticesBefore = noticesTaken
    const reserved = await queries.reserveDataKeyUses(database, merchantId, usesBlock)
    // Superseded while it was asked for, perhaps.
    if (noticesTaken !== noticesBefore) return renew(merchantId)
    if (reserved === undefined) {
      await addDataKey(merchantId)
      return renew(merchantId)
    }
    const { data_key_id } = reserved
    if (current.size >= currentMax) current.delete(current.keys().next().value as string)
    const taken: Current = { data_key_id, uses_left: usesBlock, key: cache.get(merchantId, data_key_id) }
    current.set(merchantId, taken)
    taken.key ??= await cache.open(merchantId, data_key_id, () => unwrapRow(merchantId, reserved))
  }

  /** However many ask at once, it is done once. */
  function renewed(merchantId: string): Promise<void> {
    let renewal = renewing.get(merchantId)
    if (renewal === undefined) {
      renewal = renew(merchantId).finally(() => renewing.delete(merchantId))
      renewing.set(merchantId, renewal)
    }
    return renewal
  }

  const keyring: Keyring = {
    fingerprints,
    addDataKey,
    async takeNotice(ended) {
      noticesTaken++
      for (const { merchant_id, data_key_id } of ended)
        if (current.get(merchant_id)?.data_key_id === data_key_id) current.delete(merchant_id)
      const revoked = new Set(ended.flatMap((key) => (key.is_revoked ? key.data_key_id : [])))
      if (revoked.size > 0) cache.forget((key) => revoked.has(key.data_key_id))
      // While they are closed there is nothing to take notice of: opening reads what there is by then.
      if (fingerprints.isOpen()) await fingerprints.refresh()
    },
    trustSince(askedAtMs) {
      trustedUntilMs = askedAtMs + trustMs
    },
    forEncryption(merchantId) {
      ready()
      const known = current.get(merchantId)
      if (known?.key !== undefined && known.uses_left > 0 && cache.use(known.key)) {
        known.uses_left--
        return known.key
      }
      return renewed(merchantId).then(() => keyring.forEncryption(merchantId))
    },
    forDecryption(merchantId, dataKeyId) {
      ready()
      return cache.get(merchantId, dataKeyId) ?? openById(merchantId, dataKeyId as Id<'dataKey'>)
    },
    ready: fingerprints.ready,
    open: fingerprints.open,
    async stop() {
      cache.stop()
      await fingerprints.stop()
    },
  }
  return keyring
}

/** Nothing brings back what it was about. */
export function isKeysDestroyed(error: unknown): boolean {
  return error instanceof Failure && error.code === 'keys_destroyed'
}
