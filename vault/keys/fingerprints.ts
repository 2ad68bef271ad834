/**
 * The hashes by which card numbers are found. Each is made under the version of the fingerprint key that the database
 * says; while fingerprints get a new key, new numbers are written under the next one too. A statement that was made
 * for an earlier state is refused by the database, and made again.
 *
 * The provider opens the keys anew in the background; where it has not for as long as keys are kept, nothing is hashed.
 */
import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { startRepeating } from '@coffer/core/repeating.ts'
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

/** While they are closed, each of them throws the Failure that `ready` throws. */
export type Fingerprints = {
  readonly current: FingerprintKey
  hashesOf(merchantId: string, number: string): NumberHashes
  /** Those that a body may have been hashed with, the current one first. */
  readonly bodyKeys: readonly FingerprintKey[]
  version(version: number): FingerprintKey
  /** Takes notice of what the database says now. */
  refresh(): Promise<void>
  isOpen(): boolean
  /** @throws Failure keys_unavailable or vault_sealed while they are closed. */
  ready(): void
  /** Opens them now. @throws where it cannot, and another error than a Failure where they are another database's. */
  open(): Promise<void>
  stop(): Promise<void>
}

const cachedKeysMax = 10_000
const retryMs = 1_000

type State = { fingerprint_key_version: number; next_fingerprint_key_version: number | null }

/**
 * Open where the provider opens them; else it goes on trying. @throws where they are another database's.
 * @param openKeys gives all versions that the database holds and that are not retired.
 */
export async function openFingerprints(
  database: Database,
  openKeys: () => Promise<FingerprintKeys>,
  { age_ms_max, log }: { age_ms_max: number; log: Log },
): Promise<Fingerprints> {
  const known = new Map<number, FingerprintKey>()
  let current!: FingerprintKey
  let next: FingerprintKey | undefined
  let bodyKeys: FingerprintKey[] = []
  let openedAtMs = Number.NEGATIVE_INFINITY
  let closedBecause = new Failure('keys_unavailable')

  const ageMs = () => performance.now() - openedAtMs
  const isOpen = () => ageMs() < age_ms_max
  function ready(): void {
    if (!isOpen()) throw new Failure(closedBecause.code, { cause: closedBecause })
  }

  async function open(): Promise<void> {
    const startedMs = performance.now()
    try {
      await learn()
      await refresh()
      openedAtMs = startedMs
    } catch (error) {
      if (error instanceof Failure) closedBecause = error
      throw error
    }
  }

  async function learn(): Promise<void> {
    for (const [number, root] of await openKeys())
      if (!known.has(number)) known.set(number, fingerprintKey(number, root))
  }

  function version(wanted: number): FingerprintKey {
    const key = known.get(wanted)
    if (key === undefined) throw new Error(`there is no version ${wanted} of the fingerprint key here`)
    return key
  }

  async function refresh(): Promise<void> {
    const state = await findState(database)
    const wanted = [state.fingerprint_key_version, state.next_fingerprint_key_version ?? []].flat()
    if (wanted.some((one) => !known.has(one))) await learn()
    current = version(state.fingerprint_key_version)
    next =
      state.next_fingerprint_key_version === null ? undefined : version(state.next_fingerprint_key_version)
    bodyKeys = [current, ...[...known.values()].filter((key) => key !== current)]
  }

  // A vault may wait sealed for long: said once, not with every try.
  let loggedCode: string | undefined
  const notOpened = (error: unknown) => {
    const code = error instanceof Failure ? error.code : 'internal_error'
    if (code !== loggedCode)
      log.warn({ code, error }, 'the keys of fingerprints were not opened; tried again')
    loggedCode = code
  }
  await open().catch((error: unknown) => {
    if (!(error instanceof Failure)) throw error
    notOpened(error)
  })
  const opening = startRepeating(async () => {
    if (ageMs() >= age_ms_max / 2)
      await open().then(() => {
        loggedCode = undefined
      }, notOpened)
    return ageMs() < age_ms_max / 2 ? age_ms_max / 2 : Math.min(retryMs, age_ms_max / 20)
  })

  return {
    get current() {
      ready()
      return current
    },
    get bodyKeys() {
      ready()
      return bodyKeys
    },
    hashesOf(merchantId, number) {
      ready()
      return {
        number_hmac: current.numberHmac(merchantId, number),
        fingerprint_key_version: current.version,
        next_number_hmac: next?.numberHmac(merchantId, number) ?? null,
        next_fingerprint_key_version: next?.version ?? null,
      }
    },
    version,
    refresh,
    isOpen,
    ready,
    open,
    stop: () => opening.stop(),
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
