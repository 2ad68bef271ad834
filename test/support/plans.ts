/** How statements find their rows: the plans PostgreSQL makes for them, without running them. */
import assert from 'node:assert/strict'
import {
  type Database,
  preparing,
  type Query,
  type Statement,
  scopeStatement,
} from '@coffer/core/postgres.ts'
import pg from 'pg'
import type { Login, TestPostgres } from './postgres.ts'

/** The statements a query function would run, without running them. */
export async function statementsOf(
  run: (database: Database & Query) => Promise<unknown>,
): Promise<Statement[]> {
  const statements: Statement[] = []
  const stop = new Error('recorded')
  const query = async (asked: Statement | Statement[]) => {
    statements.push(...[asked].flat())
    throw stop
  }
  const record = (_merchants: readonly string[], asked: Statement | Statement[]) => query(asked)
  const transaction = (_merchants: readonly string[], work: (query: Query) => unknown) => work(query)
  const methods = { commit: record, commitAll: record, read: record, transaction }
  const database = Object.assign(query, methods) as unknown as Database & Query
  await run(database).catch((error: unknown) => assert.equal(error, stop))
  assert.ok(statements.length > 0)
  return statements
}

export type PlanNode = {
  'Node Type': string
  'Index Cond'?: string
  'Recheck Cond'?: string
  'Index Name'?: string
  'Relation Name'?: string
  Plans?: PlanNode[]
}

/** As it is planned once for all values; with the planner's settings of every transaction. */
export async function planOf(
  postgres: TestPostgres,
  login: Login,
  statement: Statement,
): Promise<PlanNode[]> {
  const client = new pg.Client({ connectionString: postgres.url(login).expose() })
  await client.connect()
  try {
    await client.query('begin')
    for (const before of [scopeStatement([]), ...preparing([statement])]) await client.query(before)
    const { rows } = await client.query(`explain (generic_plan, format json) ${statement.text}`)
    const nodes: PlanNode[] = []
    const walk = (node: PlanNode) => {
      nodes.push(node)
      for (const child of node.Plans ?? []) walk(child)
    }
    walk(rows[0]['QUERY PLAN'][0].Plan)
    return nodes
  } finally {
    await client.end()
  }
}
