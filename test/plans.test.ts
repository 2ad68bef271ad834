/**
 * How the hot statements find their rows. Each keeps one plan a connection, made while its tables may be empty:
 * were it not bound to find rows by their keys even then, it would read whole indexes once they are large.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { type AuditQuery, findAuditRecords } from '@coffer/core/audit.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import pg from 'pg'
import * as access from '../access/queries.ts'
import * as events from '../platform/events/queries.ts'
import { findOperationPlan } from '../platform/operations/queries.ts'
import { filterOf } from '../platform/payments/list-filter.ts'
import { listPayments } from '../platform/payments/list-queries.ts'
import * as payments from '../platform/payments/queries.ts'
import * as paymentReads from '../platform/payments/read-queries.ts'
import { claimDue } from '../platform/payments/resolver-queries.ts'
import { intentOf, newPlan } from '../platform/payments/test-attempts.ts'
import * as cards from '../vault/cards/queries.ts'
import * as forwards from '../vault/forward/forward-queries.ts'
import * as keys from '../vault/keys/queries.ts'
import { type Login, startTestPostgres } from './support/postgres.ts'

const postgres = await startTestPostgres({ after })

/** The statements a query function would run, without running them. */
async function statementsOf(run: (database: Database) => Promise<unknown>): Promise<Statement[]> {
  const statements: Statement[] = []
  const stop = new Error('recorded')
  const record = async (_merchants: readonly string[], asked: Statement | Statement[]) => {
    statements.push(...[asked].flat())
    throw stop
  }
  const database = { commit: record, commitAll: record, read: record } as unknown as Database
  await run(database).catch((error: unknown) => assert.equal(error, stop))
  assert.ok(statements.length > 0)
  return statements
}

type PlanNode = { 'Node Type': string; 'Index Cond'?: string; 'Relation Name'?: string; Plans?: PlanNode[] }

async function planOf(login: Login, statement: Statement): Promise<PlanNode[]> {
  const client = new pg.Client({ connectionString: postgres.url(login).expose() })
  await client.connect()
  try {
    await client.query('set enable_seqscan = off')
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

/** Keys that begin with the merchant must be used beyond it; an event id or an attempt's due time is enough. */
const wholeKey =
  /card_id|number_hmac|idempotency_key|attempt_id|payment_id|event_id|key_id|connection_id|resolve_at|revoked_at/

const one = [{}] as never
const hot: [string, Login, (database: Database) => Promise<unknown>][] = [
  [
    'insertCards',
    'coffer_vault_service',
    (database) => cards.insertCards(database, [{ card: { metadata: {} } }] as never),
  ],
  ['findCards', 'coffer_vault_service', (database) => cards.findCards(database, one)],
  ['insertForwards', 'coffer_vault_service', (database) => forwards.insertForwards(database, one)],
  ['endForwards', 'coffer_vault_service', (database) => forwards.endForwards(database, one)],
  ['findDataKey', 'coffer_vault_service', (database) => keys.findDataKey(database, 'mer_', 'dek_')],
  [
    'writePayments: an intent',
    'coffer_platform_service',
    (database) => payments.writePayments(database, [{ kind: 'intent', entry: intentOf(newPlan()) }]),
  ],
  [
    'writePayments: a settlement',
    'coffer_platform_service',
    (database) => {
      const entry = { settlement: {}, payment: {} } as never
      return payments.writePayments(database, [{ kind: 'settlement', entry }])
    },
  ],
  ['findPayments', 'coffer_platform_service', (database) => paymentReads.findPayments(database, one)],
  ['findKnownKey', 'coffer_access_relay', (database) => access.findKnownKey(database, 'key_')],
  ['listRevokedKeys', 'coffer_access_relay', (database) => access.listRevokedKeys(database, 1)],
  ...[{}, { reference: 'r' }, { card: 'c' }].map((asked): (typeof hot)[number] => [
    `listPayments ${Object.keys(asked)}`,
    'coffer_platform_service',
    (database) => listPayments(database, 'mer_', filterOf(asked)),
  ]),
  ['claimDue attempts', 'coffer_platform_relay', (database) => claimDue(database, 'attempts', 20)],
  ['claimDue operations', 'coffer_platform_relay', (database) => claimDue(database, 'operations', 20)],
  ['findOperationPlan', 'coffer_platform_service', (database) => findOperationPlan(database, one[0])],
  ['appendEvents', 'coffer_platform_relay', (database) => events.appendEvents(database, one, 1n, 'holder')],
]

for (const [name, login, run] of hot)
  test(`${name} finds its rows by whole keys, also where its tables were empty when it was planned`, async () => {
    for (const statement of await statementsOf(run))
      for (const node of await planOf(login, statement)) {
        assert.notEqual(node['Node Type'], 'Seq Scan', `${name} reads all of ${node['Relation Name']}`)
        if (node['Relation Name'] === 'sequencer_leases' || !/Index/.test(node['Node Type'])) continue
        assert.match(node['Index Cond'] ?? '', wholeKey, `${name}: ${JSON.stringify(node)}`)
      }
  })

for (const zone of ['access', 'vault', 'platform'] as const)
  for (const object_id of [null, 'card_1'])
    test(`the audit trail of ${zone} is read by ${object_id === null ? 'merchant' : 'object'}, in its index's order`, async () => {
      const query = { object_id, cursor: null, from: null, to: null } as AuditQuery
      const [statement] = await statementsOf((database) => findAuditRecords(database, zone, query))
      const nodes = await planOf(`coffer_${zone}_service`, statement!)
      const reads = nodes.filter((node) => node['Relation Name'] === 'audit_records')
      assert.deepEqual(
        reads.map((node) => node['Node Type']),
        ['Index Scan'],
      )
      assert.match(reads[0]!['Index Cond']!, /merchant_id = .*audit_id </)
      assert.equal(/object_id/.test(reads[0]!['Index Cond']!), object_id !== null)
    })
