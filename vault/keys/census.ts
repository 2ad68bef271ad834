/** How much there is under each key. It reads every row it counts, so one at a time, for whoever asks meanwhile too. */
import type { Database } from '@coffer/core/postgres.ts'
import { encryptedTables } from './encrypted-columns.ts'
import { countRows } from './encrypted-rows.ts'
import { countHashes } from './instrument-queries.ts'
import type { KeyCensus } from './schemas.ts'
import type { WrappingKeys } from './wrapping-keys.ts'

export type Census = ReturnType<typeof createCensus>

type DataKeyRow = {
  data_key_id: string
  wrapping_key_id: string
  uses_reserved: bigint
  created_at: Date
  superseded_at: Date | null
  retired_at: Date | null
  destroyed_at: Date | null
}
type FingerprintKeyRow = {
  fingerprint_key_version: number
  created_at: Date
  superseded_at: Date | null
  retired_at: Date | null
}

const text = (time: Date | null) => time?.toISOString() ?? null

export function createCensus(deps: {
  database: Database
  relayDatabase: Database
  wrappingKeys: WrappingKeys
}) {
  const underWay = new Map<string, Promise<KeyCensus>>()

  async function dataKeysOf(merchantId: string): Promise<KeyCensus['data_keys']> {
    const keys = await deps.database.read<DataKeyRow>([merchantId], {
      name: 'find_data_keys',
      text: `select data_key_id, wrapping_key_id, uses_reserved, created_at, superseded_at, retired_at, destroyed_at
             from data_keys where merchant_id = $1 order by merchant_id, data_key_id`,
      values: [merchantId],
    })
    const counts = await countRows(deps.database, encryptedTables, merchantId)
    return keys.map((key) => ({
      id: key.data_key_id,
      wrapping_key: key.wrapping_key_id,
      uses_reserved: Number(key.uses_reserved),
      rows: counts.get(key.data_key_id) ?? 0,
      created_at: key.created_at.toISOString(),
      superseded_at: text(key.superseded_at),
      retired_at: text(key.retired_at),
      destroyed_at: text(key.destroyed_at),
    }))
  }

  async function fingerprintKeys(): Promise<KeyCensus['fingerprint_keys']> {
    const keys = await deps.relayDatabase.read<FingerprintKeyRow>([], {
      name: 'find_fingerprint_key_times',
      text: `select fingerprint_key_version, created_at, superseded_at, retired_at from fingerprint_keys
             order by fingerprint_key_version`,
      values: [],
    })
    const counts = await countHashes(deps.relayDatabase)
    return keys.map((key) => ({
      version: key.fingerprint_key_version,
      rows: counts.get(key.fingerprint_key_version) ?? 0,
      created_at: key.created_at.toISOString(),
      superseded_at: text(key.superseded_at),
      retired_at: text(key.retired_at),
    }))
  }

  async function wrappingKeys(): Promise<KeyCensus['wrapping_keys']> {
    const current = await deps.wrappingKeys.currentId()
    const rows = await deps.relayDatabase.read<{ wrapping_key_id: string; keys: bigint }>([], {
      name: 'count_wrapped_keys',
      text: `select wrapping_key_id, count(*) as keys from (
               select wrapping_key_id from data_keys where destroyed_at is null
               union all select wrapping_key_id from fingerprint_keys where retired_at is null) wrapped
             group by wrapping_key_id order by wrapping_key_id`,
      values: [],
    })
    const counts = new Map([
      [current, 0],
      ...rows.map((row) => [row.wrapping_key_id, Number(row.keys)] as const),
    ])
    return [...counts].map(([id, count]) => ({ id, is_current: id === current, rows: count }))
  }

  async function count(merchantId: string, isOperator: boolean): Promise<KeyCensus> {
    return {
      object: 'key_census',
      data_keys: await dataKeysOf(merchantId),
      fingerprint_keys: isOperator ? await fingerprintKeys() : null,
      wrapping_keys: isOperator ? await wrappingKeys() : null,
    }
  }

  return {
    /** The merchant's keys; with `isOperator` those of the deployment too. */
    take(merchantId: string, isOperator: boolean): Promise<KeyCensus> {
      const name = `${merchantId}|${isOperator}`
      const known = underWay.get(name)
      if (known !== undefined) return known
      const census = count(merchantId, isOperator).finally(() => underWay.delete(name))
      underWay.set(name, census)
      return census
    },
  }
}
