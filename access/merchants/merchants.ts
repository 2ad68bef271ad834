/** Merchants of a deployment, as its operators manage them. Being an operator opens no data of theirs. */
import { hash } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { canonical, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import * as queries from './queries.ts'
import type { Merchant, MerchantFields } from './schemas.ts'

export type Merchants = ReturnType<typeof createMerchants>

export function createMerchants(deps: { database: Database; relayDatabase: Database; clock: Clock }) {
  return {
    /** The same key with the same body gives the first answer again. */
    async create(
      caller: Caller,
      input: MerchantFields,
      idempotencyKey: string | null,
      serialize: (merchant: Merchant) => string,
    ): Promise<StoredAnswer> {
      refuseCardNumberIn('name', input.name)
      const now = deps.clock.now()
      const row = { merchant_id: newId('merchant'), name: input.name, created_at: now, updated_at: now }
      const answer = serialize(merchantOf(row))
      const inserted = await queries.insertMerchant(deps.database, {
        ...row,
        caller,
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hash: hash('sha256', canonical(input), 'buffer'),
        response_body: answer,
      })
      if (inserted.verdict === 'body_differs') throw keyReused()
      return inserted.verdict === 'repeated' ? inserted.answer : { status: 201, body: answer }
    },

    async get(merchantId: string): Promise<Merchant> {
      const row = isId('merchant', merchantId)
        ? await queries.findMerchant(deps.database, merchantId)
        : undefined
      if (row === undefined) throw new Failure('not_found')
      return merchantOf(row)
    },

    async list(filter: { cursor: string | undefined; limit: number }) {
      checkCursor('merchant', filter.cursor)
      const page = { cursor: filter.cursor ?? null, limit: filter.limit }
      const rows = await queries.listMerchants(deps.relayDatabase, page)
      return pageOf(rows.map(merchantOf), filter.limit)
    },

    async change(caller: Caller, merchantId: string, input: MerchantFields): Promise<Merchant> {
      refuseCardNumberIn('name', input.name)
      if (!isId('merchant', merchantId)) throw new Failure('not_found')
      const renamed = { merchant_id: merchantId, name: input.name, audit_id: newId('audit') }
      const row = await queries.renameMerchant(deps.database, caller, renamed)
      if (row === undefined) throw new Failure('not_found')
      return merchantOf(row)
    },
  }
}

function merchantOf(row: queries.MerchantRow): Merchant {
  return {
    id: row.merchant_id,
    object: 'merchant',
    name: row.name,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}
