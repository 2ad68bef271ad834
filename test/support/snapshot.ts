/** What all databases hold, so that a test can say that nothing was written. */
import { setTimeout as delay } from 'node:timers/promises'
import { zones } from '../../main/databases.ts'
import { queryDatabase } from './api.ts'
import type { Product } from './product.ts'

/** By database and table: how many rows there are, and a digest of them all. */
export type Snapshot = Record<string, string>

/** Leases are renewed and key holders tell of themselves whatever else goes on; the audit trail is sealed a moment after it was written. */
const restless = /lease|^key_holders$|^audit_(chains|seals|checkpoints)$/

/** A refused request leaves a record of that, and it alone. */
const noAttempts = `where action not in ('request.refused', 'api_key.refused', 'audit.read')`

/** Rows go on changing for a moment behind an answer: the snapshot is taken when two in a row are the same. */
export async function restingSnapshot(product: Product): Promise<Snapshot> {
  for (let last = await snapshotOf(product); ; ) {
    await delay(300)
    const next = await snapshotOf(product)
    if (changesBetween(last, next).length === 0 && !(await isRotating(product))) return next
    last = next
  }
}

/** A rotation of keys rests now and then, and goes on. */
async function isRotating(product: Product): Promise<boolean> {
  const running = `select true from key_rotations where state = 'running' limit 1`
  return (await queryDatabase(product, 'vault', running)).length > 0
}

/** The tables that differ, with both sides. */
export function changesBetween(before: Snapshot, after: Snapshot): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...names]
    .filter((name) => before[name] !== after[name])
    .map((name) => `${name}: ${before[name]} became ${after[name]}`)
}

async function snapshotOf(product: Product): Promise<Snapshot> {
  const snapshot: Snapshot = {}
  for (const zone of zones) {
    const tables = await queryDatabase(
      product,
      zone,
      `select relname as name from pg_class
       where relkind = 'r' and relnamespace = 'public'::regnamespace order by relname`,
    )
    const names = tables.map((row) => row['name'] as string).filter((name) => !restless.test(name))
    const texts = names.map(
      (name) => `select '${name}' as name, count(*)::int as rows,
        md5(string_agg(md5(t::text), '' order by md5(t::text))) as digest from "${name}" t ${name === 'audit_records' ? noAttempts : ''}`,
    )
    for (const { name, rows, digest } of await queryDatabase(product, zone, texts.join(' union all ')))
      snapshot[`${zone}.${name}`] = `${rows} rows ${digest ?? ''}`
  }
  return snapshot
}
