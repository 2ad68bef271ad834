/**
 * Rotation of the wrapping key: the provider has a new one, and `walk` wraps every key that stands under another one
 * anew. Begins once all processes wrap with the same one. What the keys have encrypted stays as it is.
 */
import { Failure } from '@coffer/core/errors.ts'
import { findRunningHolders } from './key-notices.ts'
import type { RotationDeps, Step } from './rotating.ts'
import type { RotationRow } from './rotation-queries.ts'
import * as queries from './wrapped-key-queries.ts'
import { dataKeyContext, fingerprintKeyContext, type WrappedKey } from './wrapping-keys.ts'

type Place =
  | { stage: 'begin' }
  | { stage: 'walk'; wrapping_key_id: string; after: [string, string]; errors: number }

export async function stepWrapping(
  deps: RotationDeps,
  rotation: RotationRow,
  rowsMax: number,
): Promise<Step> {
  const place = rotation.place as Place
  if (place.stage === 'walk') return walk(deps, place, rowsMax)
  const wrapping_key_id = await deps.wrappingKeys.currentId()
  const holders = await findRunningHolders(deps.relayDatabase)
  // One that does not have the new key yet could not open what is wrapped with it.
  if (holders.some((holder) => holder.wrapping_key_id !== wrapping_key_id))
    return { place, rows: 0, wait_ms: 1_000 }
  const fingerprintKeys = await queries.findFingerprintKeysToWrap(deps.relayDatabase, wrapping_key_id)
  const rows_total =
    (await queries.countDataKeysToWrap(deps.relayDatabase, wrapping_key_id)) + fingerprintKeys.length
  for (const key of fingerprintKeys) {
    const context = fingerprintKeyContext(key.fingerprint_key_version)
    const bytes = await deps.wrappingKeys.unwrap(key, context)
    const wrapped = await wrappedAnew(deps, bytes, context)
    await queries.rewrapFingerprintKey(deps.relayDatabase, key, wrapped)
  }
  return {
    place: { stage: 'walk', wrapping_key_id, after: ['', ''], errors: 0 },
    rows: fingerprintKeys.length,
    rows_total,
  }
}

async function walk(
  deps: RotationDeps,
  place: Extract<Place, { stage: 'walk' }>,
  rowsMax: number,
): Promise<Step> {
  const keys = await queries.findDataKeysToWrap(
    deps.relayDatabase,
    place.wrapping_key_id,
    place.after,
    rowsMax,
  )
  let errors = place.errors
  let rows = 0
  for (const key of keys) {
    const context = dataKeyContext(key.merchant_id, key.data_key_id)
    const bytes = await deps.wrappingKeys.unwrap(key, context).catch((error: unknown) => {
      if (error instanceof Failure) throw error
      deps.log.error({ data_key_id: key.data_key_id, error }, 'a data key does not unwrap: it stays as it is')
      errors++
      return undefined
    })
    if (bytes === undefined) continue
    if (await queries.rewrapDataKey(deps.relayDatabase, key, await wrappedAnew(deps, bytes, context))) rows++
  }
  const last = keys.at(-1)
  if (keys.length === rowsMax && last !== undefined)
    return { place: { ...place, after: [last.merchant_id, last.data_key_id], errors }, rows }
  if (errors > 0) return { place: { ...place, errors }, rows, errors, state: 'incomplete' }
  // A key that was made while its process had the old wrapping key still.
  if (rows > 0) return { place: { ...place, after: ['', ''] }, rows }
  return { place, rows, errors: 0, state: 'finished' }
}

async function wrappedAnew(
  deps: RotationDeps,
  bytes: Buffer,
  context: ReturnType<typeof dataKeyContext>,
): Promise<WrappedKey> {
  try {
    return await deps.wrappingKeys.wrap(bytes, context)
  } finally {
    bytes.fill(0)
  }
}
