/** What a merchant wants done with its cards. It is kept beside them, so a new card costs no question to anybody. */
import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { CardPolicy, CardPolicyChange } from './policy-schemas.ts'

export type CardPolicies = ReturnType<typeof createCardPolicies>

type PolicyRow = { duplicates: CardPolicy['duplicates']; updated_at: Date }

/** In effect for everything that begins after it is committed. */
const changeText = `
  with changed as (
    insert into card_policies as policy (merchant_id, duplicates) values ($1, coalesce($2, 'allow'))
    on conflict (merchant_id) do update
      set duplicates = coalesce($2, policy.duplicates), updated_at = now()
    returning duplicates, updated_at
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
        text: 'select duplicates, updated_at from card_policies where merchant_id = $1',
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
    updated_at: row?.updated_at.toISOString() ?? null,
  }
}
