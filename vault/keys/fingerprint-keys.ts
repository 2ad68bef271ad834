/**
 * The keys of the hashes of card numbers. They stand in the database, wrapped; the first is made once, or is the one
 * a setting gives. A check value outlives them all: a database is never written to with another key.
 */
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Secret } from '@coffer/core/secret.ts'
import { keyCheckOf, symmetricKey } from './local-keys.ts'
import * as queries from './queries.ts'
import { fingerprintKeyContext, type WrappingKeys, WrongKey } from './wrapping-keys.ts'

/** By version; the newest is the one that new hashes are made with. */
export type FingerprintKeys = ReadonlyMap<number, KeyObject>

/**
 * @param given the first version, for a database from a time when it was kept in a file only.
 * @throws Failure where the provider does not answer; an error where this is not the database's key.
 */
export async function openFingerprintKeys(
  database: Database,
  wrappingKeys: WrappingKeys,
  given: Secret<string> | undefined,
): Promise<FingerprintKeys> {
  if (wrappingKeys.isSealed?.() === true) throw new Failure('vault_sealed')
  const givenKey = given === undefined ? undefined : symmetricKey('fingerprint', given)
  if (givenKey !== undefined) await checkFirst(database, givenKey)
  const found = await queries.findFingerprintKeys(database)
  const rows = found.length > 0 ? found : await addFirst(database, wrappingKeys, givenKey)
  const opened = new Map<number, KeyObject>()
  for (const row of rows) {
    const version = row.fingerprint_key_version
    const bytes = await wrappingKeys.unwrap(row, fingerprintKeyContext(version)).catch(refuseWrongKey)
    opened.set(version, createSecretKey(bytes))
    bytes.fill(0)
  }
  const first = opened.get(1)
  if (first !== undefined) await checkFirst(database, first)
  return opened
}

async function addFirst(database: Database, wrappingKeys: WrappingKeys, given: KeyObject | undefined) {
  const wrappingCheck = await queries.findKeyCheck(database, 'wrapping')
  if (wrappingCheck !== undefined && wrappingKeys.hasKeyOf?.(wrappingCheck) !== true) refuseWrongKey()
  if (given === undefined && (await queries.findKeyCheck(database, 'fingerprint')) !== undefined)
    throw new Error(
      'this database was written with a fingerprint key that it does not hold: give it as VAULT_FINGERPRINT_KEY',
    )
  const bytes = given?.export() ?? randomBytes(32)
  const wrapped = await wrappingKeys.wrap(bytes, fingerprintKeyContext(1))
  bytes.fill(0)
  // Where another process has just added one, that one counts.
  await queries.insertFingerprintKey(database, 1, wrapped)
  return queries.findFingerprintKeys(database)
}

/** What the wrapping key does not open was wrapped by another one: nothing here may be written with this one. */
function refuseWrongKey(error?: unknown): never {
  if (error !== undefined && !(error instanceof WrongKey)) throw error
  throw new Error(
    'the wrapping key is not the one this database was written with: restore the right key file',
    { cause: error },
  )
}

/** A database that holds a check value of another key must not be written to: never make a new key over it. */
async function checkFirst(database: Database, key: KeyObject): Promise<void> {
  const value = keyCheckOf('fingerprint', key)
  const stored = await queries.ensureKeyCheck(database, 'fingerprint', value)
  if (!stored.equals(value))
    throw new Error(
      'the fingerprint key is not the one this database was written with: restore the right key file',
    )
}
