/**
 * Crypto-shredding: a merchant's data keys are destroyed, and with them everything they have encrypted, in every copy
 * that ever was made of it. Takes two people. First the keys are revoked: the database gives them to nobody, processes
 * forget them. When all have, their wrapped bytes are overwritten, and the audit trail gets a certificate.
 */

import { type Approvals, parametersDigest } from '@coffer/core/approvals.ts'
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'
import type { Clock } from '@coffer/core/time.ts'
import * as queries from './destruction-queries.ts'
import { withEachBodyKey } from './fingerprints.ts'
import { holdersBehind } from './key-notices.ts'
import type { Keyring } from './keyring.ts'
import type { KeyDestruction, NewKeyDestruction } from './schemas.ts'

export type Destructions = ReturnType<typeof createDestructions>

export function createDestructions(deps: {
  database: Database
  keyring: Keyring
  approvals: Approvals
  clock: Clock
}) {
  return {
    /**
     * Of the caller's merchant. From the answer on no key of it is made; within ten seconds none is used.
     * @throws Failure keys_destroyed where they were before, idempotency_key_reused, and those of `Approvals`.
     */
    async start(
      caller: Caller,
      input: NewKeyDestruction,
      idempotencyKey: string | null,
      serialize: (destruction: KeyDestruction) => string,
    ): Promise<StoredAnswer> {
      refuseCardNumberIn('reason', input.reason)
      const { merchant_id } = caller
      const used = await deps.approvals.consume({
        caller,
        approval_id: input.approval,
        action: 'key.destroy',
        object_id: merchant_id,
        parameters_digest: parametersDigest({}),
        used_for: idempotencyKey === null ? caller.request_id : `key:${idempotencyKey}`,
      })
      const now = deps.clock.now()
      const row: queries.DestructionRow = {
        merchant_id,
        destruction_id: newId('keyDestruction', now.getTime()),
        state: 'revoking',
        reason: input.reason,
        approval_id: used.approval_id,
        requested_by: caller.actor,
        approved_by: used.approved_by,
        requested_at: now,
        generation: null,
        destroyed_at: null,
        keys_destroyed: null,
        backups_expire_at: null,
      }
      const answer = serialize(destructionOf(row))
      const inserted = await withEachBodyKey(deps.keyring.fingerprints, ({ bodyKey }) =>
        queries.insertDestruction(deps.database, {
          ...row,
          caller,
          requested_at: now.toISOString(),
          audit_id: newId('audit', now.getTime()),
          idempotency_key: idempotencyKey,
          body_hmac: idempotencyKey === null ? null : bodyHmac(bodyKey, { ...input }),
          response_body: answer,
        }),
      )
      if (inserted.verdict === 'body_differs') throw keyReused()
      if (inserted.verdict === 'destroyed') throw new Failure('keys_destroyed')
      return inserted.verdict === 'repeated' ? inserted.answer : { status: 202, body: answer }
    },

    async list(merchantId: string): Promise<{ data: KeyDestruction[]; next_cursor: null }> {
      const row = await queries.findDestruction(deps.database, merchantId)
      return { data: row === undefined ? [] : [destructionOf(row)], next_cursor: null }
    },
  }
}

function destructionOf(row: queries.DestructionRow): KeyDestruction {
  return {
    id: row.destruction_id,
    object: 'key_destruction',
    state: row.state,
    reason: row.reason,
    approval: row.approval_id,
    requested_by: row.requested_by,
    approved_by: row.approved_by,
    requested_at: row.requested_at.toISOString(),
    destroyed_at: row.destroyed_at?.toISOString() ?? null,
    keys_destroyed: row.keys_destroyed,
    backups_expire_at: row.backups_expire_at?.toISOString() ?? null,
  }
}

const pauseMs = 1_000
const dayMs = 86_400_000

/** Carries destructions out. Each step can be done twice, and by two processes at once. */
export function startDestroying(deps: {
  relayDatabase: Database
  backup_retention_days: number
  clock: Clock
  log: Log
}): Repeating {
  const { relayDatabase } = deps

  async function step(row: queries.DestructionRow): Promise<void> {
    if (row.generation === null) return queries.revokeKeys(relayDatabase, row.merchant_id)
    if ((await holdersBehind(relayDatabase, row.generation)) > 0) return
    const backupsExpireAt = new Date(deps.clock.now().getTime() + deps.backup_retention_days * dayMs)
    await queries.destroyKeys(relayDatabase, row, backupsExpireAt, newId('audit'))
    deps.log.warn({ object_id: row.destruction_id }, "a merchant's data keys were destroyed")
  }

  return startRepeating(async () => {
    try {
      for (const row of await queries.findRevoking(relayDatabase)) await step(row)
    } catch (error) {
      deps.log.warn({ error }, 'keys were not destroyed yet; tried again')
    }
    return pauseMs
  })
}
