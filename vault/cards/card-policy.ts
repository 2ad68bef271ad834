/** What a merchant wants done with its cards. It is kept beside them, so a new card costs no question to anybody. */
import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { CardPolicy, CardPolicyChange } from './policy-schemas.ts'

export type CardPolicies = ReturnType<typeof createCardPolicies>

type PolicyRow = {
  duplicates: CardPolicy['duplicates']
  expired_cards_kept_days: number | null
  updated_at: Date
}

const shown = 'duplicates, expired_cards_kept_days, updated_at'

/** In effect for everything that begins after it is committed. Another time to keep expired cards begins a new run. */
const changeText = `
  with changed as (
    insert into card_policies as policy (merchant_id, duplicates, expired_cards_kept_days, retention_due_at)
    values ($1, coalesce($2, 'allow'), $9::int, case when $9::int is not null then now() end)
    on conflict (merchant_id) do update set duplicates = coalesce($2, policy.duplicates), updated_at = now(),
      expired_cards_kept_days = case when $10 then $9::int else policy.expired_cards_kept_days end,
      retention_due_at = case when not $10 then policy.retention_due_at when $9::int is not null then now() end,
      retention_after_card_id = case when $10 then '' else policy.retention_after_card_id end,
      retention_deleted = case when $10 then 0 else policy.retention_deleted end
    returning ${shown}
  ), added_audit as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result, reason)
    select $3, $1, $4, $5, 'card_policy.update', $1, $6, $7, 'done', $8 from changed
  )
  select * from changed`

export function createCardPolicies({ database }: { database: Database }) {
  return {
    async get(merchantId: string): Promise<CardPolicy> {
      const rows = await database.read<PolicyRow>([merchantId], {
        name: 'find_card_policy',
        text: `select ${shown} from card_policies where merchant_id = $1`,
        values: [merchantId],
      })
      return policyOf(rows[0])
    },

    /** What is left out stays. */
    async change(caller: Caller, change: CardPolicyChange): Promise<CardPolicy> {
      const named = Object.entries(change).map(([name, value]) => `${name} ${value}`)
      const rows = await database.commit<PolicyRow>([caller.merchant_id], {
        name: 'change_card_policy',
        text: changeText,
        values: [
          caller.merchant_id,
          change.duplicates ?? null,
          newId('audit'),
          caller.actor,
          caller.key_id,
          caller.request_id,
          caller.source_address,
          named.join(', '),
          change.expired_cards_kept_days ?? null,
          change.expired_cards_kept_days !== undefined,
        ],
      })
      return policyOf(rows[0])
    },
  }
}

function policyOf(row: PolicyRow | undefined): CardPolicy {
  return {
    object: 'card_policy',
    duplicates: row?.duplicates ?? 'allow',
    expired_cards_kept_days: row?.expired_cards_kept_days ?? null,
    updated_at: row?.updated_at.toISOString() ?? null,
  }
}
