import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { defaultDelaysSeconds, type RetryPlan } from './plan.ts'

type PlanRow = { delays_seconds: number[]; updated_at: Date }

const planOf = ({ delays_seconds, updated_at }: PlanRow): RetryPlan => ({
  object: 'retry_plan',
  delays_seconds,
  updated_at: updated_at.toISOString(),
})

export async function findPlan(database: Database, merchantId: string): Promise<RetryPlan> {
  const [row] = await database.read<PlanRow>([merchantId], {
    name: 'find_retry_plan',
    text: 'select delays_seconds, updated_at from retry_plans where merchant_id = $1',
    values: [merchantId],
  })
  if (row !== undefined) return planOf(row)
  return { object: 'retry_plan', delays_seconds: defaultDelaysSeconds, updated_at: null }
}

export async function putPlan(
  database: Database,
  caller: Caller,
  delaysSeconds: number[],
  now: Date,
): Promise<RetryPlan> {
  const { merchant_id, actor, key_id, request_id, source_address } = caller
  const [row] = await database.commit<PlanRow>([merchant_id], {
    name: 'put_retry_plan',
    text: `with added_audit as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, result)
             values ($4, $1, $5, $6, 'retry_plan.update', $1, $7, $8, 'done')
           )
           insert into retry_plans (merchant_id, delays_seconds, updated_at) values ($1, $2, $3)
           on conflict (merchant_id) do update
             set delays_seconds = excluded.delays_seconds, updated_at = excluded.updated_at
           returning delays_seconds, updated_at`,
    values: [
      ...[merchant_id, delaysSeconds, now, newId('audit')],
      ...[actor, key_id, request_id, source_address],
    ],
  })
  return planOf(row!)
}
