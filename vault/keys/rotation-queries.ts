import type { Caller } from '@coffer/core/caller.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'

export const rotationKinds = ['data', 'fingerprint', 'wrapping'] as const
export type RotationKind = (typeof rotationKinds)[number]

/** In place of a merchant, for keys that belong to all of them. */
export const deployment = 'deployment'

export type RotationRow = {
  merchant_id: string
  rotation_id: string
  kind: RotationKind
  state: 'running' | 'finished' | 'incomplete'
  /** What the kind of rotation keeps of where it is. */
  place: { stage: string } & Record<string, unknown>
  rows_total: bigint
  rows_done: bigint
  errors: bigint
  started_at: Date
  finished_at: Date | null
  fence: bigint
  asked_by_merchant_id: string
}

const columns = `merchant_id, rotation_id, kind, state, place, rows_total, rows_done, errors, started_at, finished_at,
  fence, asked_by_merchant_id`

export type RotationInsert = {
  caller: Caller
  merchant_id: string
  rotation_id: string
  kind: RotationKind
  started_at: string
  audit_id: string
  idempotency_key: string | null
  body_hmac: Buffer | null
  response_body: string
}

export type RotationInserted =
  | { verdict: 'inserted' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  /** One of its kind runs already. */
  | { verdict: 'running' }

type InsertedRow = {
  is_inserted: boolean
  is_running: boolean
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
}

const insertText = `
  with known as materialized (
    select body_hmac = $8::bytea as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = 'key_rotations.create' and idempotency_key = $7 limit 1
  ), running as materialized (
    select true from key_rotations where kind = $11 and merchant_id = $12 and state = 'running' limit 1
  ), claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id, response_status,
      response_body, expires_at)
    select $1, 'key_rotations.create', $7, $8::bytea, $2, 201, $9::text, now() + interval '24 hours'
    where $7::text is not null and not exists (select from known) and not exists (select from running)
    on conflict do nothing returning object_id
  ), added as (
    insert into key_rotations (merchant_id, rotation_id, kind, state, place, started_at, actor,
      asked_by_merchant_id)
    select $12, $2, $11, 'running', '{"stage":"begin"}', $13::timestamptz, $4, $1
    where not exists (select from known) and not exists (select from running)
      and ($7::text is null or exists (select from claimed))
    returning rotation_id
  ), audited as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result, reason)
    select $3, $1, $4, $5, 'key.rotate', rotation_id, $6, $10, 'done', $11 from added
  )
  select exists (select from added) as is_inserted, exists (select from running) as is_running, known.*
  from (select) as once left join known on true`

/** With its audit record and the record of its idempotency key. */
export async function insertRotation(database: Database, row: RotationInsert): Promise<RotationInserted> {
  const { caller } = row
  const [found] = await database
    .commit<InsertedRow>([caller.merchant_id, row.merchant_id], {
      name: 'insert_key_rotation',
      text: insertText,
      values: [
        caller.merchant_id,
        row.rotation_id,
        row.audit_id,
        caller.actor,
        caller.key_id,
        caller.request_id,
        row.idempotency_key,
        row.body_hmac,
        row.response_body,
        caller.source_address,
        row.kind,
        row.merchant_id,
        row.started_at,
      ],
    })
    .catch((error: unknown) => {
      if (isRunningAlready(error)) return [undefined]
      throw error
    })
  if (found?.is_inserted) return { verdict: 'inserted' }
  if (found !== undefined && found.response_status !== null)
    return found.same_body
      ? { verdict: 'repeated', answer: { status: found.response_status, body: found.response_body! } }
      : { verdict: 'body_differs' }
  // Another request took the key or the place at the same moment: asking again finds what it wrote.
  return found?.is_running ? { verdict: 'running' } : insertRotation(database, row)
}

/** Another request has started one while this one ran: nothing was written. */
function isRunningAlready(error: unknown): boolean {
  const { code, constraint } = (error ?? {}) as { code?: unknown; constraint?: unknown }
  return code === '23505' && constraint === 'key_rotations_running'
}

/** `owners` are merchants, or `deployment`. */
export async function findRotation(
  database: Database,
  owners: string[],
  rotationId: string,
): Promise<RotationRow | undefined> {
  const rows = await database.read<RotationRow>(owners, {
    name: 'find_key_rotation',
    text: `select ${columns} from key_rotations where merchant_id = any ($1) and rotation_id = $2`,
    values: [owners, rotationId],
  })
  return rows[0]
}

/** Newest first, those before `before`. */
export function listRotations(
  database: Database,
  owners: string[],
  page: { before: string; limit: number },
): Promise<RotationRow[]> {
  return database.read<RotationRow>(owners, {
    name: 'list_key_rotations',
    text: `select ${columns} from key_rotations where merchant_id = any ($1) and rotation_id < $2
           order by rotation_id desc limit $3`,
    values: [owners, page.before, page.limit],
  })
}

/** Those that run and that nobody else works on, held by `holder` for five seconds from now. */
export function holdRotations(relayDatabase: Database, holder: string): Promise<RotationRow[]> {
  return relayDatabase.commit<RotationRow>([], {
    name: 'hold_key_rotations',
    text: `with free as (
             select merchant_id, rotation_id from key_rotations
             where state = 'running' and (holder = $1 or held_until < now())
             order by held_until limit 8 for update skip locked
           )
           update key_rotations rotation set holder = $1, held_until = now() + interval '5 seconds',
             fence = case when rotation.holder = $1 then rotation.fence else rotation.fence + 1 end
           from free
           where rotation.merchant_id = free.merchant_id and rotation.rotation_id = free.rotation_id
           returning ${columns
             .split(', ')
             .map((name) => `rotation.${name.trim()}`)
             .join(', ')}`,
    values: [holder],
  })
}

export type Progress = Pick<RotationRow, 'state' | 'place' | 'rows_total' | 'rows_done' | 'errors'>

/** False where another process has taken the rotation over: then nothing is written. */
export async function writeProgress(
  relayDatabase: Database,
  holder: string,
  row: RotationRow,
  progress: Progress,
  audit_id: string,
): Promise<boolean> {
  const statement: Statement = {
    name: 'write_key_rotation_progress',
    text: `with written as (
             update key_rotations set state = $5, place = $6, rows_total = $7, rows_done = $8, errors = $9,
               held_until = now() + interval '5 seconds', finished_at = case when $5 <> 'running' then now() end
             where merchant_id = $1 and rotation_id = $2 and holder = $3 and fence = $4 and state = 'running'
             returning rotation_id
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, reason, result)
             select $10, $11, 'coffer', '', 'key.rotation_end', rotation_id, '', '', $12, $5 from written
             where $5 <> 'running'
           )
           select rotation_id from written`,
    values: [
      row.merchant_id,
      row.rotation_id,
      holder,
      row.fence,
      progress.state,
      JSON.stringify(progress.place),
      progress.rows_total,
      progress.rows_done,
      progress.errors,
      audit_id,
      row.asked_by_merchant_id,
      row.kind,
    ],
  }
  return (await relayDatabase.commit([row.asked_by_merchant_id], statement)).length > 0
}

/** On a stop, so that another process need not wait. */
export async function releaseRotations(relayDatabase: Database, holder: string): Promise<void> {
  await relayDatabase.commit([], {
    name: 'release_key_rotations',
    text: `update key_rotations set held_until = now(), holder = null where holder = $1 and state = 'running'`,
    values: [holder],
  })
}

/** Begins a rotation for a merchant whose data key has had an eighth of the uses it may have. */
export async function rotateUsedMuch(relayDatabase: Database): Promise<void> {
  const due = await relayDatabase.read<{ merchant_id: string }>([], {
    name: 'find_data_keys_used_much',
    text: `select distinct merchant_id from data_keys
           where uses_reserved > 268435456 and superseded_at is null limit 100`,
    values: [],
  })
  for (const { merchant_id } of due)
    await relayDatabase.commit([merchant_id], {
      name: 'rotate_data_key_used_much',
      text: `with added as (
               insert into key_rotations (merchant_id, rotation_id, kind, state, place, actor, asked_by_merchant_id)
               values ($1, $2, 'data', 'running', '{"stage":"begin"}', 'coffer', $1)
               on conflict (kind, merchant_id) where state = 'running' do nothing returning rotation_id
             )
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, reason, result)
             select $3, $1, 'coffer', '', 'key.rotate', rotation_id, '', '', 'data', 'done' from added`,
      values: [merchant_id, newId('keyRotation'), newId('audit')],
    })
}
