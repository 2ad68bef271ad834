/** The draft and the versions of a merchant's routing, each change with its audit record and event in one transaction. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import { connectionsOf, type RuleSet } from './rules.ts'
import type { RoutingVersion } from './schemas.ts'

export type RoutingRow = {
  revision: number
  draft: RuleSet | null
  last_version: number
  active_version: number | null
  updated_at: Date
}

type VersionRow = { version: number; rules: RuleSet; activated_by: string; created_at: Date }

const columns = 'revision, draft, last_version, active_version, updated_at'

/** Null where the merchant has never had any. */
export async function findRuleSets(
  database: Database,
  merchantId: string,
): Promise<{ routing: RoutingRow; active: RoutingVersion | null } | null> {
  const rows = await database.read<
    RoutingRow & { active: (Omit<VersionRow, 'created_at'> & { created_at: string }) | null }
  >([merchantId], {
    name: 'find_rule_sets',
    text: `select ${columns}, active.version as active from routing
             left join lateral (
               select json_build_object('version', version, 'rules', rules, 'activated_by', activated_by,
                 'created_at', created_at) as version
               from routing_versions
               where merchant_id = routing.merchant_id and version = routing.active_version limit 1) active on true
             where merchant_id = $1`,
    values: [merchantId],
  })
  const row = rows[0]
  if (row === undefined) return null
  const { active, ...routing } = row
  return { routing, active: active && versionOf({ ...active, created_at: new Date(active.created_at) }) }
}

export async function findVersion(
  database: Database,
  merchantId: string,
  version: number,
): Promise<RoutingVersion | undefined> {
  const rows = await database.read<VersionRow>([merchantId], {
    name: 'find_routing_version',
    text: `select version, rules, activated_by, created_at from routing_versions
           where merchant_id = $1 and version = $2`,
    values: [merchantId, version],
  })
  return rows[0] && versionOf(rows[0])
}

/** Newest first. */
export async function listVersions(
  database: Database,
  merchantId: string,
  before: number,
  limit: number,
): Promise<RoutingVersion[]> {
  const rows = await database.read<VersionRow>([merchantId], {
    name: 'list_routing_versions',
    text: `select version, rules, activated_by, created_at from routing_versions
           where merchant_id = $1 and version < $2 order by version desc limit $3`,
    values: [merchantId, before, limit],
  })
  return rows.map(versionOf)
}

const versionOf = ({ version, rules, activated_by, created_at }: VersionRow): RoutingVersion => ({
  object: 'routing_version',
  version,
  rules,
  activated_by,
  created_at: created_at.toISOString(),
})

export type Change = { caller: Caller; at: Date; revision: number | undefined }

/** Writes the draft over the one there is. @throws Failure routing_changed */
export function writeDraft(database: Database, change: Change, draft: RuleSet): Promise<void> {
  return changed(database, change, 'routing.draft', async (query, before) => {
    await query({
      name: 'write_routing_draft',
      text: `insert into routing (merchant_id, revision, draft, last_version, updated_at) values ($1, 1, $2, 0, $3)
             on conflict (merchant_id) do update
             set revision = routing.revision + 1, draft = excluded.draft, updated_at = excluded.updated_at`,
      values: [change.caller.merchant_id, JSON.stringify(draft), change.at],
    })
    return `revision ${(before?.revision ?? 0) + 1}`
  })
}

/**
 * Makes a version of the draft, in use from then on.
 * @throws Failure routing_changed, routing_draft_missing
 */
export function activateDraft(database: Database, change: Change): Promise<void> {
  const { caller, at } = change
  return changed(database, change, 'routing.activate', async (query, before) => {
    if (before?.draft == null) throw new Failure('routing_draft_missing')
    const version = before.last_version + 1
    await query({
      name: 'insert_routing_version',
      text: `insert into routing_versions (merchant_id, version, rules, connection_ids, activated_by, created_at)
             values ($1, $2, $3, $4, $5, $6)`,
      values: [
        caller.merchant_id,
        version,
        JSON.stringify(before.draft),
        connectionsOf(before.draft),
        caller.actor,
        at,
      ],
    })
    const rules = { version, rules: before.draft, activated_by: caller.actor, created_at: at }
    await use(query, change, before, versionOf(rules), { draft: null, last_version: version })
    return `version ${version}`
  })
}

/** Uses a version there was before. @throws Failure routing_changed, not_found */
export function useVersion(database: Database, change: Change, version: number): Promise<void> {
  return changed(database, change, 'routing.rollback', async (query, before) => {
    const [row] = await query<VersionRow>({
      name: 'find_routing_version',
      text: `select version, rules, activated_by, created_at from routing_versions
             where merchant_id = $1 and version = $2`,
      values: [change.caller.merchant_id, version],
    })
    if (before === undefined || row === undefined) throw new Failure('not_found', { param: 'version' })
    await use(query, change, before, versionOf(row), before)
    return `version ${version}`
  })
}

async function use(
  query: Query,
  { caller, at }: Change,
  before: RoutingRow,
  version: RoutingVersion,
  kept: Pick<RoutingRow, 'draft' | 'last_version'>,
): Promise<void> {
  const draft = kept.draft === null ? null : JSON.stringify(kept.draft)
  await query({
    name: 'use_routing_version',
    text: `update routing set revision = revision + 1, draft = $2, last_version = $3, active_version = $4,
             updated_at = $5
           where merchant_id = $1`,
    values: [caller.merchant_id, draft, kept.last_version, version.version, at],
  })
  await query({
    name: 'tell_routing_activated',
    text: `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           values ($1, $2, 'routing.activated', $2, $3, $4)`,
    values: [
      newId('event'),
      caller.merchant_id,
      JSON.stringify({ ...version, previous_version: before.active_version }),
      at,
    ],
  })
}

/** One change at a time: the row is locked from the look at its revision to the commit. */
function changed(
  database: Database,
  { caller, revision }: Change,
  action: string,
  work: (query: Query, before: RoutingRow | undefined) => Promise<string>,
): Promise<void> {
  return database.transaction([caller.merchant_id], async (query) => {
    // There may be no row to lock yet.
    await query({
      name: 'lock_routing',
      text: `select pg_advisory_xact_lock(hashtextextended('routing of ' || $1, 0))`,
      values: [caller.merchant_id],
    })
    const [before] = await query<RoutingRow>({
      name: 'find_routing_row',
      text: `select ${columns} from routing where merchant_id = $1`,
      values: [caller.merchant_id],
    })
    if (revision !== undefined && revision !== (before?.revision ?? 0))
      throw new Failure('routing_changed', { param: 'revision' })
    const what = await work(query, before)
    await query({
      name: 'audit_routing',
      text: `insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, reason, result)
             values ($1, $2, $3, $4, $5, $2, $6, $7, $8, 'done')`,
      values: [
        ...[newId('audit'), caller.merchant_id, caller.actor, caller.key_id, action],
        ...[caller.request_id, caller.source_address, what],
      ],
    })
  })
}
