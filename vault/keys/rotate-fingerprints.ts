/**
 * Rotation of the fingerprint key. `begin` makes the next version, `announce` waits until every process knows it;
 * from then on all write new numbers under both. `copy` adds a hash under the next version for every number there is,
 * then numbers are found by that one, and `remove` takes the others away. Fingerprints themselves never change.
 *
 * A number of which no encrypted copy is left cannot be hashed anew: its fingerprint ends with the old key.
 */
import { randomBytes } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import { type EncryptedTable, encryptedTables } from './encrypted-columns.ts'
import { keyOf, type WalkedRow, walkRows } from './encrypted-rows.ts'
import { copyHashes, countHashes, type HashCopy, removeHashes } from './instrument-queries.ts'
import * as changes from './key-changes.ts'
import { holdersBehind } from './key-notices.ts'
import { isKeysDestroyed } from './keyring.ts'
import type { RotationDeps, Step } from './rotating.ts'
import type { RotationRow } from './rotation-queries.ts'
import { unseal } from './sealed-text.ts'
import { fingerprintKeyContext } from './wrapping-keys.ts'

type Place =
  | { stage: 'begin' }
  | { stage: 'announce'; version: number; generation: string }
  | { stage: 'copy'; version: number; merchant: string; table: number; after: string[]; errors: number }
  | { stage: 'switch'; version: number; errors: number }
  | { stage: 'remove'; version: number; merchant: string; after: string; errors: number }

const tables = encryptedTables.filter((table) => table.numberOf !== undefined)

export async function stepFingerprints(
  deps: RotationDeps,
  rotation: RotationRow,
  rowsMax: number,
): Promise<Step> {
  const place = rotation.place as Place
  const { relayDatabase } = deps
  switch (place.stage) {
    case 'begin': {
      const version = (await changes.findFingerprintState(relayDatabase)).fingerprint_key_version + 1
      const bytes = randomBytes(32)
      const wrapped = await deps.wrappingKeys.wrap(bytes, fingerprintKeyContext(version))
      bytes.fill(0)
      const generation = await changes.announceFingerprintKey(relayDatabase, version, wrapped)
      const { rows_total } = await totalOf(deps)
      return {
        place: { stage: 'announce', version, generation: String(generation) },
        rows: 0,
        rows_total,
      }
    }
    case 'announce': {
      if ((await holdersBehind(relayDatabase, BigInt(place.generation))) > 0)
        return { place, rows: 0, wait_ms: 100 }
      await changes.requireNextFingerprintKey(relayDatabase)
      const first = (await changes.merchantAfter(relayDatabase, '')) ?? ''
      return { place: copyFrom(place.version, first, 0), rows: 0 }
    }
    case 'copy':
      return copy(deps, place, rowsMax)
    case 'switch': {
      // A number that cannot be hashed anew would get another fingerprint: numbers are found by the old key as before.
      if (place.errors > 0) return { place, rows: 0, errors: place.errors, state: 'incomplete' }
      await changes.switchFingerprintKey(relayDatabase, place.version)
      const first = (await changes.merchantAfter(relayDatabase, '')) ?? ''
      return {
        place: { stage: 'remove', version: place.version, merchant: first, after: '', errors: 0 },
        rows: 0,
      }
    }
    case 'remove':
      return remove(deps, place, rowsMax)
  }
}

const copyFrom = (version: number, merchant: string, errors: number): Place => ({
  stage: 'copy',
  version,
  merchant,
  table: 0,
  after: [],
  errors,
})

async function totalOf(deps: RotationDeps): Promise<{ rows_total: number }> {
  const counts = await countHashes(deps.relayDatabase)
  return { rows_total: [...counts.values()].reduce((sum, rows) => sum + rows, 0) }
}

async function copy(
  deps: RotationDeps,
  place: Extract<Place, { stage: 'copy' }>,
  rowsMax: number,
): Promise<Step> {
  const { version, merchant } = place
  if (merchant === '') return { place: { stage: 'switch', version, errors: place.errors }, rows: 0 }
  const table = tables[place.table]
  if (table === undefined) {
    const next = (await changes.merchantAfter(deps.relayDatabase, merchant)) ?? ''
    return { place: copyFrom(version, next, place.errors), rows: 0 }
  }
  const rows = await walkRows(deps.database, table, merchant, place.after, rowsMax)
  const copies: HashCopy[] = []
  let errors = place.errors
  for (const walked of rows) {
    const copied = await hashesOf(deps, version, table, walked).catch((error: unknown) => {
      // With its key its number is gone, and needs no hash any more.
      if (isKeysDestroyed(error)) return undefined
      if (error instanceof Failure) throw error
      const object_id = keyOf(table, walked).at(-1)!
      deps.log.error({ object_id, error }, 'a row does not open: its number cannot be hashed anew')
      errors++
      return undefined
    })
    if (copied !== undefined) copies.push(copied)
  }
  const added = await copyHashes(deps.database, merchant, version, copies)
  const next =
    rows.length < rowsMax ? { table: place.table + 1, after: [] } : { after: keyOf(table, rows.at(-1)!) }
  return { place: { ...place, ...next, errors }, rows: added, read: rows.length }
}

/** Of the row's number, by the key it is found by and by the next one; undefined where it was erased or has none. */
async function hashesOf(
  { keyring }: RotationDeps,
  version: number,
  { columns, numberOf }: EncryptedTable,
  { row, sealed }: WalkedRow,
): Promise<HashCopy | undefined> {
  const [bytes] = sealed
  if (bytes === null || bytes === undefined) return undefined
  const dataKey = await keyring.forDecryption(row.merchant_id, row.data_key_id)
  const number = numberOf!(unseal(dataKey, columns[0]!.place(row), bytes))
  if (number === null) return undefined
  const { fingerprints } = keyring
  return {
    number_hmac: fingerprints.version(version - 1).numberHmac(row.merchant_id, number),
    next_number_hmac: fingerprints.version(version).numberHmac(row.merchant_id, number),
  }
}

async function remove(
  deps: RotationDeps,
  place: Extract<Place, { stage: 'remove' }>,
  rowsMax: number,
): Promise<Step> {
  const { version, merchant } = place
  if (merchant === '') return { place, rows: 0, errors: place.errors, state: 'finished' }
  const last = await removeHashes(deps.relayDatabase, merchant, version, place.after, rowsMax)
  if (last !== undefined) return { place: { ...place, after: last }, rows: 0, read: rowsMax }
  const next = (await changes.merchantAfter(deps.relayDatabase, merchant)) ?? ''
  return { place: { ...place, merchant: next, after: '' }, rows: 0 }
}
