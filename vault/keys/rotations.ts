/** Rotations of keys, as they are asked for and looked at. They are carried out in the background. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { findDestruction } from './destruction-queries.ts'
import { withEachBodyKey } from './fingerprints.ts'
import type { Keyring } from './keyring.ts'
import * as queries from './rotation-queries.ts'
import type { KeyRotation } from './schemas.ts'

export type Rotations = ReturnType<typeof createRotations>

/** The merchant's own, and for operators those of keys that belong to all merchants. */
const ownersFor = (merchantId: string, isOperator: boolean) =>
  isOperator ? [merchantId, queries.deployment] : [merchantId]

export function createRotations(deps: { database: Database; keyring: Keyring; clock: Clock }) {
  return {
    /** @throws Failure key_rotation_running, keys_destroyed, idempotency_key_reused; forbidden for what is not the merchant's. */
    async start(
      caller: Caller,
      isOperator: boolean,
      kind: queries.RotationKind,
      idempotencyKey: string | null,
      serialize: (rotation: KeyRotation) => string,
    ): Promise<StoredAnswer> {
      if (kind !== 'data' && !isOperator)
        throw new Failure('forbidden', { detail: 'This kind of rotation needs the scope operator.' })
      if (kind === 'data' && (await findDestruction(deps.database, caller.merchant_id)) !== undefined)
        throw new Failure('keys_destroyed')
      const now = deps.clock.now()
      const row: queries.RotationRow = {
        merchant_id: kind === 'data' ? caller.merchant_id : queries.deployment,
        rotation_id: newId('keyRotation', now.getTime()),
        kind,
        state: 'running',
        place: { stage: 'begin' },
        rows_total: 0n,
        rows_done: 0n,
        errors: 0n,
        started_at: now,
        finished_at: null,
        fence: 0n,
        asked_by_merchant_id: caller.merchant_id,
      }
      const answer = serialize(rotationOf(row, now))
      const inserted = await withEachBodyKey(deps.keyring.fingerprints, ({ bodyKey }) =>
        queries.insertRotation(deps.database, {
          caller,
          merchant_id: row.merchant_id,
          rotation_id: row.rotation_id,
          kind,
          started_at: now.toISOString(),
          audit_id: newId('audit', now.getTime()),
          idempotency_key: idempotencyKey,
          body_hmac: idempotencyKey === null ? null : bodyHmac(bodyKey, { kind }),
          response_body: answer,
        }),
      )
      if (inserted.verdict === 'body_differs') throw keyReused()
      if (inserted.verdict === 'running') throw new Failure('key_rotation_running', { param: 'kind' })
      return inserted.verdict === 'repeated' ? inserted.answer : { status: 201, body: answer }
    },

    async get(merchantId: string, isOperator: boolean, rotationId: string): Promise<KeyRotation> {
      const row = isId('keyRotation', rotationId)
        ? await queries.findRotation(deps.database, ownersFor(merchantId, isOperator), rotationId)
        : undefined
      if (row === undefined) throw new Failure('not_found')
      return rotationOf(row, deps.clock.now())
    },

    /** Newest first. */
    async list(merchantId: string, isOperator: boolean, page: { cursor: string | undefined; limit: number }) {
      checkCursor('keyRotation', page.cursor)
      const asked = { before: page.cursor ?? 'krot_~', limit: page.limit }
      const rows = await queries.listRotations(deps.database, ownersFor(merchantId, isOperator), asked)
      const now = deps.clock.now()
      return pageOf(
        rows.map((row) => rotationOf(row, now)),
        page.limit,
      )
    },
  }
}

function rotationOf(row: queries.RotationRow, now: Date): KeyRotation {
  const done = Number(row.rows_done)
  const seconds = ((row.finished_at ?? now).getTime() - row.started_at.getTime()) / 1_000
  return {
    id: row.rotation_id,
    object: 'key_rotation',
    kind: row.kind,
    state: row.state,
    stage: row.place.stage,
    rows_total: Number(row.rows_total),
    rows_done: done,
    rows_per_second: done === 0 ? 0 : Math.round(done / Math.max(seconds, 0.001)),
    errors: Number(row.errors),
    started_at: row.started_at.toISOString(),
    finished_at: row.finished_at?.toISOString() ?? null,
  }
}
