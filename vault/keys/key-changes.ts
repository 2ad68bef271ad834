/** Steps of a rotation that change which keys are used. Each makes a new generation, which all processes learn of. */
import type { Database, Statement } from '@coffer/core/postgres.ts'
import type { WrappedKey } from './wrapping-keys.ts'

const newGeneration: Statement = {
  name: 'add_key_generation',
  text: 'update key_state set generation = generation + 1 where only_row returning generation',
  values: [],
}

/** Waits for the statements that hold the state of the fingerprint keys, and lets none begin before the commit. */
const holdAlone: Statement = {
  name: 'hold_fingerprint_keys_alone',
  text: 'select pg_advisory_xact_lock(727001)',
  values: [],
}

async function generationOf(results: Promise<Record<string, unknown>[][]>): Promise<bigint> {
  return (await results).flat().find((row) => row['generation'] !== undefined)!['generation'] as bigint
}

/** From here on the merchant's other data keys encrypt nothing new. Gives the generation that says so. */
export function supersedeDataKeys(relayDatabase: Database, merchantId: string, newest: string) {
  const superseded = {
    name: 'supersede_data_keys',
    text: `update data_keys set superseded_at = now()
           where merchant_id = $1 and data_key_id <> $2 and superseded_at is null`,
    values: [merchantId, newest],
  }
  return generationOf(relayDatabase.commitAll([merchantId], [superseded, newGeneration]))
}

export async function supersededDataKeys(relayDatabase: Database, merchantId: string): Promise<Set<string>> {
  const rows = await relayDatabase.read<{ data_key_id: string }>([merchantId], {
    name: 'find_superseded_data_keys',
    text: 'select data_key_id from data_keys where merchant_id = $1 and superseded_at is not null',
    values: [merchantId],
  })
  return new Set(rows.map((row) => row.data_key_id))
}

/** Nothing is left that they have encrypted. */
export async function retireDataKeys(relayDatabase: Database, merchantId: string): Promise<void> {
  await relayDatabase.commit([merchantId], {
    name: 'retire_data_keys',
    text: `update data_keys set retired_at = now()
           where merchant_id = $1 and superseded_at is not null and retired_at is null`,
    values: [merchantId],
  })
}

export type FingerprintState = {
  fingerprint_key_version: number
  next_fingerprint_key_version: number | null
  generation: bigint
}

export async function findFingerprintState(relayDatabase: Database): Promise<FingerprintState> {
  const rows = await relayDatabase.read<FingerprintState>([], {
    name: 'find_fingerprint_key_state',
    text: `select fingerprint_key_version, next_fingerprint_key_version, generation from key_state where only_row`,
    values: [],
  })
  return rows[0]!
}

/** New numbers are written under the next version too, by those who know of it. */
export function announceFingerprintKey(relayDatabase: Database, version: number, wrapped: WrappedKey) {
  const added = {
    name: 'add_next_fingerprint_key',
    text: `insert into fingerprint_keys (fingerprint_key_version, wrapped_key, wrapping_key_id)
           values ($1, $2, $3) on conflict do nothing`,
    values: [version, wrapped.wrapped_key, wrapped.wrapping_key_id],
  }
  const announced = {
    name: 'announce_fingerprint_key',
    text: `update key_state set next_fingerprint_key_version = $1
           where only_row and fingerprint_key_version = $1 - 1 and next_fingerprint_key_version is null`,
    values: [version],
  }
  return generationOf(relayDatabase.commitAll([], [added, announced, newGeneration]))
}

/** From here on every new number is written under both: whoever does not know the next version is refused. */
export function requireNextFingerprintKey(relayDatabase: Database) {
  const required = {
    name: 'require_next_fingerprint_key',
    text: `update key_state set next_is_required = true
           where only_row and next_fingerprint_key_version is not null`,
    values: [],
  }
  return generationOf(relayDatabase.commitAll([], [holdAlone, required, newGeneration]))
}

/** From here on numbers are found by the version that was the next one. */
export function switchFingerprintKey(relayDatabase: Database, version: number) {
  const switched = {
    name: 'switch_fingerprint_key',
    text: `update key_state set fingerprint_key_version = $1, next_fingerprint_key_version = null,
             next_is_required = false
           where only_row and next_fingerprint_key_version = $1`,
    values: [version],
  }
  const superseded = {
    name: 'supersede_fingerprint_keys',
    text: `update fingerprint_keys set superseded_at = now()
           where fingerprint_key_version < $1 and superseded_at is null`,
    values: [version],
  }
  return generationOf(relayDatabase.commitAll([], [holdAlone, switched, superseded, newGeneration]))
}

/** An hour after the last record of a repeated request that they may have hashed has expired. */
export async function retireFingerprintKeys(relayDatabase: Database): Promise<void> {
  await relayDatabase.commit([], {
    name: 'retire_fingerprint_keys',
    text: `update fingerprint_keys set retired_at = now()
           where superseded_at < now() - interval '25 hours' and retired_at is null`,
    values: [],
  })
}

/** The next merchant in their order; undefined behind the last one. */
export async function merchantAfter(
  relayDatabase: Database,
  merchantId: string,
): Promise<string | undefined> {
  const rows = await relayDatabase.read<{ merchant_id: string }>([], {
    name: 'find_merchant_with_keys',
    text: `select merchant_id from data_keys where merchant_id > $1 order by merchant_id limit 1`,
    values: [merchantId],
  })
  return rows[0]?.merchant_id
}
