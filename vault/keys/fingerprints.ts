/**
 * The hashes by which card numbers are found. Each is made under the version of the fingerprint key that the database
 * says; while fingerprints get a new key, new numbers are written under the next one too. A statement that was made
 * for an earlier state is refused by the database, and made again.
 */
import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import type { Database } from '@coffer/core/postgres.ts'
import type { FingerprintKeys } from './fingerprint-keys.ts'

/** As columns of the statements that look a number up or add it. */
export type NumberHashes = {
  number_hmac: Buffer
  fingerprint_key_version: number
  /** Null but while fingerprints get a new key. */
  next_number_hmac: Buffer | null
  next_fingerprint_key_version: number | null
}

/** One version of the fingerprint key, and what is derived from it. */
export type FingerprintKey = {
  version: number
  /** Keys the hashes by which repeated request bodies are recognised. */
  bodyKey: KeyObject
  /** Keyed hash of a number, different for each merchant (PCI DSS 3.5.1.1). */
  numberHmac(merchantId: string, number: string): Buffer
}

export type Fingerprints = {
  readonly current: FingerprintKey
  hashesOf(merchantId: string, number: string): NumberHashes
  /** Those that a body may have been hashed with, the current one first. */
  readonly bodyKeys: readonly FingerprintKey[]
  version(version: number): FingerprintKey
  /** Takes notice of what the database says now. */
  refresh(): Promise<void>
}

const cachedKeysMax = 10_000

type State = { fingerprint_key_version: number; next_fingerprint_key_version: number | null }

/** @param openKeys gives all versions that the database holds and that are not retired. */
export async function openFingerprints(
  database: Database,
  openKeys: () => Promise<FingerprintKeys>,
): Promise<Fingerprints> {
  const known = new Map<number, FingerprintKey>()
  let current!: FingerprintKey
  let next: FingerprintKey | undefined
  let bodyKeys: FingerprintKey[] = []

  function version(wanted: number): FingerprintKey {
    const key = known.get(wanted)
    if (key === undefined) throw new Error(`there is no version ${wanted} of the fingerprint key here`)
    return key
  }

  async function refresh(): Promise<void> {
    const state = await findState(database)
    const wanted = [state.fingerprint_key_version, state.next_fingerprint_key_version ?? []].flat()
    if (wanted.some((one) => !known.has(one)))
      for (const [number, root] of await openKeys())
        if (!known.has(number)) known.set(number, fingerprintKey(number, root))
    current = version(state.fingerprint_key_version)
    next =
      state.next_fingerprint_key_version === null ? undefined : version(state.next_fingerprint_key_version)
    bodyKeys = [current, ...[...known.values()].filter((key) => key !== current)]
  }

  await refresh()
  return {
    get current() {
      return current
    },
    get bodyKeys() {
      return bodyKeys
    },
    hashesOf(merchantId, number) {
      return {
        number_hmac: current.numberHmac(merchantId, number),
        fingerprint_key_version: current.version,
        next_number_hmac: next?.numberHmac(merchantId, number) ?? null,
        next_fingerprint_key_version: next?.version ?? null,
      }
    },
    version,
    refresh,
  }
}

function fingerprintKey(version: number, root: KeyObject): FingerprintKey {
  const derived = (info: string) => createSecretKey(Buffer.from(hkdfSync('sha256', root, '', info, 32)))
  const byMerchant = new Map<string, KeyObject>()
  return {
    version,
    bodyKey: derived('idempotency body'),
    numberHmac(merchantId, number) {
      let key = byMerchant.get(merchantId)
      if (key === undefined) {
        if (byMerchant.size >= cachedKeysMax) byMerchant.delete(byMerchant.keys().next().value as string)
        key = derived(merchantId)
        byMerchant.set(merchantId, key)
      }
      return createHmac('sha256', key).update(number).digest()
    },
  }
}

async function findState(database: Database): Promise<State> {
  const rows = await database.read<State>([], {
    name: 'find_fingerprint_state',
    text: 'select fingerprint_key_version, next_fingerprint_key_version from key_state where only_row',
    values: [],
  })
  return rows[0]!
}

/** True for what the database refuses because it was hashed for an earlier state: it is to be hashed again. */
export function isHashedForAnotherState(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 'CF001'
}

/**
 * Tries a write with each key that its first request's body may have been hashed with: where fingerprints have got a
 * new key since, a repeated request is still told from another one. What differs by all of them does differ.
 */
export async function withEachBodyKey<Written extends { verdict: string } | undefined>(
  fingerprints: Fingerprints,
  write: (key: FingerprintKey) => Promise<Written>,
): Promise<Written> {
  let written!: Written
  for (const key of fingerprints.bodyKeys) {
    written = await write(key)
    if (written?.verdict !== 'body_differs') break
  }
  return written
}
