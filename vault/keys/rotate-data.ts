/**
 * Rotation of a merchant's data key: `begin` makes a new one and takes the others out of use, `settle` waits until no
 * process encrypts with them any more, `walk` puts every row under the new one, over and over until a whole walk has
 * found none that is left. A row is read and written whole; whoever reads it meanwhile finds the one or the other.
 */
import { Failure } from '@coffer/core/errors.ts'
import { type EncryptedTable, encryptedTables } from './encrypted-columns.ts'
import { countRows, keyOf, reencryptStatement, type WalkedRow, walkRows } from './encrypted-rows.ts'
import { retireDataKeys, supersedeDataKeys, supersededDataKeys } from './key-changes.ts'
import { holdersBehind } from './key-notices.ts'
import type { RotationDeps, Step } from './rotating.ts'
import type { RotationRow } from './rotation-queries.ts'
import { seal, unseal } from './sealed-text.ts'

type Place =
  | { stage: 'begin' }
  | { stage: 'settle'; generation: string }
  | { stage: 'walk'; table: number; after: string[]; changed: number; errors: number; settled: boolean }

const firstPlace = (settled: boolean): Place => ({
  stage: 'walk',
  table: 0,
  after: [],
  changed: 0,
  errors: 0,
  settled,
})

/** What was encrypted before its process took notice may still be on its way into the database. */
const onItsWayMs = 1_000

export async function stepData(deps: RotationDeps, rotation: RotationRow, rowsMax: number): Promise<Step> {
  const place = rotation.place as Place
  const { relayDatabase } = deps
  const merchantId = rotation.merchant_id
  switch (place.stage) {
    case 'begin': {
      const newest = await deps.keyring.addDataKey(merchantId)
      const generation = await supersedeDataKeys(relayDatabase, merchantId, newest)
      const total = await countToDo(deps, merchantId)
      return {
        place: { stage: 'settle', generation: String(generation) } satisfies Place,
        rows_total: total,
        rows: 0,
      }
    }
    case 'settle': {
      if ((await holdersBehind(relayDatabase, BigInt(place.generation))) > 0)
        return { place, rows: 0, wait_ms: 100 }
      return { place: firstPlace(false), rows: 0 }
    }
    case 'walk':
      return walk(deps, rotation, place, rowsMax)
  }
}

async function countToDo(deps: RotationDeps, merchantId: string): Promise<number> {
  const superseded = await supersededDataKeys(deps.relayDatabase, merchantId)
  const counts = await countRows(deps.database, encryptedTables, merchantId)
  return [...counts].reduce((sum, [key, rows]) => (superseded.has(key) ? sum + rows : sum), 0)
}

async function walk(
  deps: RotationDeps,
  rotation: RotationRow,
  place: Extract<Place, { stage: 'walk' }>,
  rowsMax: number,
): Promise<Step> {
  const table = encryptedTables[place.table]
  if (table === undefined) return endOfWalk(deps, rotation, place)
  const merchantId = rotation.merchant_id
  const superseded = await supersededDataKeys(deps.relayDatabase, merchantId)
  const rows = await walkRows(deps.database, table, merchantId, place.after, rowsMax)
  const due = rows.filter(
    ({ row, sealed }) => superseded.has(row.data_key_id) && sealed.some((bytes) => bytes !== null),
  )
  const { changed, errors } = await reencrypt(deps, table, due)
  const next =
    rows.length < rowsMax ? { table: place.table + 1, after: [] } : { after: keyOf(table, rows.at(-1)!) }
  const counted = { changed: place.changed + changed, errors: place.errors + errors }
  return { place: { ...place, ...next, ...counted }, rows: changed, read: rows.length }
}

/** Rows that do not open stay as they are, and are counted. */
async function reencrypt(deps: RotationDeps, table: EncryptedTable, due: WalkedRow[]) {
  const statements = []
  let errors = 0
  for (const walked of due) {
    const sealed = await resealed(deps, table, walked).catch((error: unknown) => {
      // Keys or the database cannot be had now: the row is not to blame.
      if (error instanceof Failure) throw error
      deps.log.error(
        { object_id: keyOf(table, walked).at(-1)!, data_key_id: walked.row.data_key_id, error },
        'a row does not open under the key it names: it stays as it is',
      )
      return undefined
    })
    if (sealed === undefined) errors++
    else statements.push(reencryptStatement(table, walked, sealed.data_key_id, sealed.bytes))
  }
  if (statements.length === 0) return { changed: 0, errors }
  const database = table.changes ? deps.database : deps.relayDatabase
  const results = await database.commitAll([due[0]!.row.merchant_id], statements)
  return { changed: results.filter((rows) => rows.length > 0).length, errors }
}

async function resealed({ keyring }: RotationDeps, table: EncryptedTable, { row, sealed }: WalkedRow) {
  const oldKey = await keyring.forDecryption(row.merchant_id, row.data_key_id)
  const newKey = await keyring.forEncryption(row.merchant_id)
  const bytes = table.columns.map(({ place }, index) => {
    const old = sealed[index] ?? null
    return old === null ? null : seal(newKey, place(row), unseal(oldKey, place(row), old))
  })
  return { data_key_id: newKey.data_key_id, bytes }
}

async function endOfWalk(
  deps: RotationDeps,
  rotation: RotationRow,
  place: Extract<Place, { stage: 'walk' }>,
): Promise<Step> {
  // The one that finds nothing more must have begun after all that was on its way has arrived.
  if (place.changed > 0 || !place.settled)
    return { place: firstPlace(true), rows: 0, wait_ms: place.settled ? 0 : onItsWayMs }
  if (place.errors > 0) return { place, rows: 0, errors: place.errors, state: 'incomplete' }
  await retireDataKeys(deps.relayDatabase, rotation.merchant_id)
  return { place, rows: 0, errors: 0, state: 'finished' }
}
