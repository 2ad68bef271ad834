/** A merchant's rules as they are written, activated and gone back to. A version is never changed. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { limitOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { findConnections } from './queries.ts'
import type { FindConnection } from './routing.ts'
import * as queries from './rule-set-queries.ts'
import { connectionsOf, type RuleSet } from './rules.ts'
import type { Activation, NewDraft, Rollback, RoutingShown } from './schemas.ts'
import { validateRules } from './validate.ts'

export type RuleSets = ReturnType<typeof createRuleSets>

export function createRuleSets(deps: { database: Database; findConnection: FindConnection; clock: Clock }) {
  const { database } = deps

  async function check(merchantId: string, rules: RuleSet): Promise<void> {
    const named = connectionsOf(rules)
    const found = await findConnections(database, merchantId, named)
    const known = new Set(found.map(({ connection_id }) => connection_id))
    // What a rule set names and has not seen is asked for one by one; a set that is wrong otherwise asks for none.
    validateRules(rules, () => true)
    for (const id of named.filter((each) => !known.has(each)))
      if ((await deps.findConnection(merchantId, id)) !== undefined) known.add(id)
    validateRules(rules, (id) => known.has(id))
  }

  async function get(merchantId: string): Promise<RoutingShown> {
    const found = await queries.findRuleSets(database, merchantId)
    return {
      object: 'routing',
      revision: found?.routing.revision ?? 0,
      active: found?.active ?? null,
      draft: found?.routing.draft ?? null,
      updated_at: found?.routing.updated_at.toISOString() ?? null,
    }
  }

  const changeOf = (caller: Caller, revision: number | undefined) => ({
    caller,
    revision,
    at: deps.clock.now(),
  })

  return {
    get,

    async draft(caller: Caller, { revision, ...rules }: NewDraft): Promise<RoutingShown> {
      await check(caller.merchant_id, rules)
      await queries.writeDraft(database, changeOf(caller, revision), rules)
      return get(caller.merchant_id)
    },

    async activate(caller: Caller, { revision }: Activation): Promise<RoutingShown> {
      const found = await queries.findRuleSets(database, caller.merchant_id)
      const draft = found?.routing.draft ?? null
      // As it was written it was right; connections may have gone since. What is activated is what is looked at here.
      if (draft !== null) await check(caller.merchant_id, draft)
      const looked = revision ?? found?.routing.revision
      await queries.activateDraft(database, changeOf(caller, looked))
      return get(caller.merchant_id)
    },

    async rollback(caller: Caller, { version, revision }: Rollback): Promise<RoutingShown> {
      await queries.useVersion(database, changeOf(caller, revision), version)
      return get(caller.merchant_id)
    },

    async versions(merchantId: string, asked: { cursor?: string; limit?: string }) {
      const limit = limitOf(asked.limit)
      const before = asked.cursor === undefined ? 2_000_000_000 : Number(asked.cursor)
      const data = await queries.listVersions(database, merchantId, before, limit)
      return { data, next_cursor: data.length === limit ? String(data.at(-1)!.version) : null }
    },

    /** @throws Failure not_found, routing_draft_missing */
    async rulesOf(
      merchantId: string,
      { version, draft }: { version?: number; draft?: boolean },
    ): Promise<{ version: number | null; rules: RuleSet | null; active: RuleSet | null }> {
      const found = await queries.findRuleSets(database, merchantId)
      const active = found?.active?.rules ?? null
      if (draft) {
        if (found?.routing.draft == null) throw new Failure('routing_draft_missing', { param: 'draft' })
        return { version: null, rules: found.routing.draft, active }
      }
      if (version === undefined) return { version: found?.active?.version ?? null, rules: active, active }
      const wanted = await queries.findVersion(database, merchantId, version)
      if (wanted === undefined) throw new Failure('not_found', { param: 'version' })
      return { version, rules: wanted.rules, active }
    },
  }
}
