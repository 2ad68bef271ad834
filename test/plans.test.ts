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
import { endAgreement, findAgreement, listAgreements } from '../platform/agreements/queries.ts'
import * as batches from '../platform/batches/batch-queries.ts'
import * as batchUploads from '../platform/batches/upload-queries.ts'
import * as batchWork from '../platform/batches/work-queries.ts'
import * as events from '../platform/events/queries.ts'
import { findOperationPlan } from '../platform/operations/queries.ts'
import { filterOf } from '../platform/payments/list-filter.ts'
import { listPayments } from '../platform/payments/list-queries.ts'
import * as payments from '../platform/payments/queries.ts'
import * as paymentReads from '../platform/payments/read-queries.ts'
import { claimDue } from '../platform/payments/resolver-queries.ts'
import { intentOf, newPlan } from '../platform/payments/test-attempts.ts'
import { claimDueWebhooks } from '../platform/psp-webhooks/queries.ts'
import { lockState, takeSlotStatement } from '../platform/retries/state-queries.ts'
import { findCardKind } from '../platform/routing/queries.ts'
import * as cardChanges from '../vault/cards/change-queries.ts'
import { deleteCards } from '../vault/cards/deletion-queries.ts'
import {
  eraseStatement as eraseCard,
  eraseDeletedCards,
  eraseNumberStatement,
  eraseSupersededNumbers,
} from '../vault/cards/erasing.ts'
import { insertCards, insertStatement } from '../vault/cards/insert-queries.ts'
import * as cardLists from '../vault/cards/list-queries.ts'
import * as cards from '../vault/cards/queries.ts'
import { findExpiring } from '../vault/cards/retention-queries.ts'
import { addUsage } from '../vault/cards/usage-queries.ts'
import * as cardVersions from '../vault/cards/version-queries.ts'
import * as destinations from '../vault/forward/destinations/queries.ts'
import * as forwards from '../vault/forward/forward-queries.ts'
import * as forwardRequests from '../vault/forward/requests/queries.ts'
import * as keys from '../vault/keys/queries.ts'
import { eraseDeletedTokens, eraseStatement as eraseToken } from '../vault/tokens/erasing.ts'
import * as tokens from '../vault/tokens/queries.ts'
import { planOf as planAt, statementsOf } from './support/plans.ts'
import { type Login, startTestPostgres } from './support/postgres.ts'
import { pspTokenStatements } from './support/psp-token-statements.ts'

const postgres = await startTestPostgres({ after })
const planOf = (login: Login, statement: Statement) => planAt(postgres, login, statement)

/** Keys that begin with the merchant must be used beyond it; an event id or an attempt's due time is enough. */
const wholeKey = new RegExp(
  `agreement_id card_id token_id number_hmac fingerprint idempotency_key attempt_id operation_id payment_id event_id key_id
   webhook_id due_at connection_id forward_id batch_id origin resolve_at revoked_at disabled_at updated_at`
    .split(/\s+/)
    .join('|'),
)

const one = [{}] as never
/** A payment that begins an agreement is written by all the statements there are for one. */
const begins = {
  consent: { agreement_id: 'agr_', begins: { usage: 'subscription', consent: {} }, named: null },
} as never
const hot: [string, Login, (database: Database) => Promise<unknown>][] = [
  [
    'insertCards',
    'coffer_vault_service',
    (database) => insertCards(database, [{ card: { metadata: {} } }] as never),
  ],
  [
    'insertCards by policy',
    'coffer_vault_service',
    (database) => database.commit([], insertStatement('policy', [{ card: { metadata: {} } }] as never)),
  ],
  ['findCards', 'coffer_vault_service', (database) => cards.findCards(database, one)],
  [
    'listCards',
    'coffer_vault_service',
    (database) => cardLists.listCards(database, 'mer_', {}, undefined, 10),
  ],
  [
    'listCards by customer',
    'coffer_vault_service',
    (database) => cardLists.listCards(database, 'mer_', { customer: 'c' }, undefined, 10),
  ],
  [
    'listCards by fingerprint',
    'coffer_vault_service',
    (database) => cardLists.listCards(database, 'mer_', { fingerprint: 'f', customer: 'c' }, undefined, 10),
  ],
  ...(['update', 'replace', 'restore'] as const).map((kind): (typeof hot)[number] => [
    `updateCards: ${kind}`,
    'coffer_vault_service',
    (database) => {
      const entry = { kind, before: {}, after: { billing_address: null }, version: {} }
      return cardChanges.updateCards(database, [entry] as never)
    },
  ]),
  ['findExpiring', 'coffer_vault_service', (database) => findExpiring(database, 'mer_', '', 10)],
  ['addUsage', 'coffer_vault_service', (database) => addUsage(database, one)],
  ['findVersions', 'coffer_vault_service', (database) => cardVersions.findVersions(database, one)],
  [
    'listVersions',
    'coffer_vault_service',
    (database) => cardVersions.listVersions(database, one[0], 'cver_~', 10),
  ],
  [
    'findCardBefore',
    'coffer_vault_service',
    (database) => cardVersions.findCardBefore(database, one[0], 'cver_~'),
  ],
  ['deleteCards', 'coffer_vault_service', (database) => deleteCards(database, one)],
  ['recordCvcs', 'coffer_vault_service', (database) => cardChanges.recordCvcs(database, one)],
  [
    'insertTokens',
    'coffer_vault_service',
    (database) => tokens.insertTokens(database, [{ token: {} }] as never),
  ],
  ['findTokens', 'coffer_vault_service', (database) => tokens.findTokens(database, one)],
  [
    'listTokens',
    'coffer_vault_service',
    (database) => tokens.listTokens(database, 'mer_', {}, undefined, 10),
  ],
  [
    'listTokens by customer',
    'coffer_vault_service',
    (database) => tokens.listTokens(database, 'mer_', { customer: 'c' }, undefined, 10),
  ],
  ['deleteTokens', 'coffer_vault_service', (database) => tokens.deleteTokens(database, one)],
  ['insertForwards', 'coffer_vault_service', (database) => forwards.insertForwards(database, one)],
  ['endForwards', 'coffer_vault_service', (database) => forwards.endForwards(database, one)],
  [
    'insertForwards, asked for by a merchant',
    'coffer_vault_service',
    (database) => forwardRequests.insertForwards(database, one),
  ],
  [
    'endForwards, asked for by a merchant',
    'coffer_vault_service',
    (database) => forwardRequests.endForwards(database, one),
  ],
  ['findByKey', 'coffer_vault_service', (database) => forwardRequests.findByKey(database, 'mer_', 'key', [])],
  [
    'listForwards',
    'coffer_vault_service',
    (database) => forwardRequests.listForwards(database, 'mer_', { before: 'fwd_~', limit: 10 }),
  ],
  [
    'findDestinationsOf',
    'coffer_vault_service',
    (database) => destinations.findDestinationsOf(database, 'mer_', 'https://api.psp.example', 100),
  ],
  ['findDataKey', 'coffer_vault_service', (database) => keys.findDataKey(database, 'mer_', 'dek_')],
  [
    'writePayments: an intent',
    'coffer_platform_service',
    (database) => payments.writePayments(database, [{ kind: 'intent', entry: intentOf(newPlan(), begins) }]),
  ],
  [
    'writePayments: settlements',
    'coffer_platform_service',
    (database) => {
      const settlement = { decline: null, failure: null, entries: [] }
      const entries = [settlement, { ...settlement, attempt_state: 'declined' }].map(
        (of, index) =>
          ({ settlement: of, payment: { agreement: 'agr_', amount: 1 }, attempt_id: `${index}` }) as never,
      )
      return payments.writePayments(
        database,
        entries.map((entry) => ({ kind: 'settlement', entry })),
      )
    },
  ],
  ...pspTokenStatements,
  ['findAgreement', 'coffer_platform_service', (database) => findAgreement(database, 'mer_', 'agr_')],
  [
    'endAgreement',
    'coffer_platform_service',
    (database) => endAgreement(database, one[0], 'agr_', new Date()),
  ],
  ...['card_', null].map((card_id): (typeof hot)[number] => [
    `listAgreements of ${card_id}`,
    'coffer_platform_service',
    (database) => listAgreements(database, 'mer_', { card_id, status: null, before_id: 'agr_~', limit: 10 }),
  ]),
  [
    'appendEvents of a card that changed',
    'coffer_platform_relay',
    (database) => events.appendEvents(database, [{ type: 'card.updated' }] as never, 1n, 'holder'),
  ],
  ['findCardKind', 'coffer_platform_service', (database) => findCardKind(database, 'mer_', 'card_')],
  ['findPayments', 'coffer_platform_service', (database) => paymentReads.findPayments(database, one)],
  ['findKnownKey', 'coffer_access_relay', (database) => access.findKnownKey(database, 'key_')],
  ['listRevokedKeys', 'coffer_access_relay', (database) => access.listRevokedKeys(database, 1)],
  ['listChangedUsers', 'coffer_access_relay', (database) => access.listChangedUsers(database, 1)],
  ...[{}, { reference: 'r' }, { card: 'c' }].map((asked): (typeof hot)[number] => [
    `listPayments ${Object.keys(asked)}`,
    'coffer_platform_service',
    (database) => listPayments(database, 'mer_', filterOf(asked)),
  ]),
  [
    'lockState',
    'coffer_platform_service',
    (database) => lockState((statement) => database.commit([], statement), 'mer_', 'fpr_'),
  ],
  [
    'takeSlot',
    'coffer_platform_service',
    (database) => database.commit([], takeSlotStatement('mer_', 'fpr_', {})),
  ],
  ['claimDue attempts', 'coffer_platform_relay', (database) => claimDue(database, 'attempts', 20)],
  ['claimDue operations', 'coffer_platform_relay', (database) => claimDue(database, 'operations', 20)],
  ['findOperationPlan', 'coffer_platform_service', (database) => findOperationPlan(database, one[0])],
  ...Object.entries({
    insertRows: (database: Database) => batchUploads.insertRows(database, one[0], []),
    nextRows: (database: Database) => batches.nextRows(database, one[0], 10),
    findRows: (database: Database) => batches.findRows(database, one[0], { limit: 10 } as never),
    nextCharges: (database: Database) => batchWork.nextCharges(database, one[0], 0, 10),
    mark: (database: Database) => batchWork.mark(database, one[0], [], one[0]),
    findOpenRows: (database: Database) => batchWork.findOpenRows(database, one[0], 0, 10),
    closeKeys: (database: Database) => batchWork.closeKeys(database, one[0], []),
    listBatches: (database: Database) => batches.listBatches(database, 'mer_', undefined, 10),
  }).map(([name, run]): (typeof hot)[number] => [`${name} of a batch`, 'coffer_platform_service', run]),
  ['claimDueWebhooks', 'coffer_platform_relay', (database) => claimDueWebhooks(database, 20)],
  ['appendEvents', 'coffer_platform_relay', (database) => events.appendEvents(database, one, 1n, 'holder')],
]

const erased = [
  ['cards', eraseDeletedCards, eraseCard({ merchant_id: 'mer_1', card_id: 'card_1' })],
  ['tokens', eraseDeletedTokens, eraseToken({ merchant_id: 'mer_1', token_id: 'tok_1' })],
] as const
for (const [kind, erase, statement] of erased)
  test(`${kind} to erase are found by when they were deleted, and each is erased by its key`, async () => {
    const [find] = await statementsOf((database) => erase(database))
    const nodes = await planOf('coffer_vault_relay', find!)
    assert.ok(
      nodes.some((node) => /deleted_at/.test(node['Index Cond'] ?? '')),
      JSON.stringify(nodes),
    )
    for (const node of await planOf('coffer_vault_relay', statement)) {
      assert.notEqual(node['Node Type'], 'Seq Scan', JSON.stringify(node))
      if (/Index/.test(node['Node Type']))
        assert.match(node['Index Cond'] ?? '', wholeKey, JSON.stringify(node))
    }
  })

for (const [name, login, run] of hot)
  test(`${name} finds its rows by whole keys, also where its tables were empty when it was planned`, async () => {
    for (const statement of await statementsOf(run))
      for (const node of await planOf(login, statement)) {
        assert.notEqual(node['Node Type'], 'Seq Scan', `${name} reads all of ${node['Relation Name']}`)
        if (
          ['sequencer_leases', 'card_policies'].includes(node['Relation Name'] ?? '') ||
          !/Index/.test(node['Node Type'])
        )
          continue
        // A batch has a million rows: its id alone is no key.
        const isRow = /^payment_batch_/.test(node['Relation Name'] ?? '')
        assert.match(
          node['Index Cond'] ?? '',
          isRow ? /row_number/ : wholeKey,
          `${name}: ${JSON.stringify(node)}`,
        )
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

// Last, because it fills tables that the tests above plan for while they are empty.

/** One row a card, of two merchants: a customer and a number with a few of them, and some that are deleted. */
const manyCards = `
  with card as (
    select 'mer_' || n % 2 as merchant_id, 'card_' || lpad(n::text, 36, '0') as card_id, n
    from generate_series(1, 20000) n
  ), added as (
    insert into cards (merchant_id, card_id, card_version_id, fingerprint, customer, metadata, created_at,
      updated_at, deleted_at)
    select merchant_id, card_id, 'cver_1', 'fpr_' || n % 3000, 'customer ' || n % 2000, '{}', now(), now(),
      case when n % 50 = 0 then now() end from card
  )
  insert into card_versions (merchant_id, card_id, card_version_id, data_key_id, number_encrypted, brand, bin, last4,
    exp_month, exp_year, reason, created_at)
  select merchant_id, card_id, 'cver_1', 'dek_1', sha512('x'), 'visa', '424242', '4242', 1, 2030, 'created', now()
  from card`

/** What a statement reads of each table, in rows that were found and rows that were thrown away. */
async function rowsRead(statement: Statement, merchant: string): Promise<number> {
  const client = new pg.Client({ connectionString: postgres.url('coffer_vault_service').expose() })
  await client.connect()
  try {
    await client.query(
      `select set_config('coffer.merchants', $1, false), set_config('enable_seqscan', 'off', false),
      set_config('plan_cache_mode', 'force_generic_plan', false)`,
      [merchant],
    )
    const names = statement.values.map((_value, index) => `$${index + 1}`)
    await client.query(`prepare listed as ${statement.text}`)
    const values = statement.values.map((value) =>
      value === null ? 'null' : pg.escapeLiteral(String(value)),
    )
    assert.equal(values.length, names.length)
    const { rows } = await client.query(
      `explain (analyze, format json) execute listed (${values.join(', ')})`,
    )
    let read = 0
    const walk = (node: Record<string, unknown>) => {
      const loops = node['Actual Loops'] as number
      if (node['Relation Name'] !== undefined)
        read += loops * ((node['Actual Rows'] as number) + ((node['Rows Removed by Filter'] as number) ?? 0))
      for (const child of (node['Plans'] as Record<string, unknown>[]) ?? []) walk(child)
    }
    walk(rows[0]['QUERY PLAN'][0].Plan)
    return read
  } finally {
    await client.end()
  }
}

test('numbers to erase are found by when they were superseded, and each is erased by its key', async () => {
  const [statement] = await statementsOf((database) => eraseSupersededNumbers(90)(database))
  const nodes = await planOf('coffer_vault_relay', statement!)
  assert.ok(
    nodes.some((node) => /superseded_at/.test(node['Index Cond'] ?? '')),
    JSON.stringify(nodes),
  )
  const due = { merchant_id: 'mer_1', card_id: 'card_1', card_version_id: 'cver_1' }
  for (const node of await planOf('coffer_vault_relay', eraseNumberStatement(due))) {
    assert.notEqual(node['Node Type'], 'Seq Scan', JSON.stringify(node))
    if (/Index/.test(node['Node Type']))
      assert.match(node['Index Cond'] ?? '', wholeKey, JSON.stringify(node))
  }
})

test('a page of a list of cards reads about as many rows as it gives, also far down in a large table', async () => {
  await postgres.query('coffer_vault_migrator', manyCards)
  await postgres.query('coffer_vault_migrator', 'analyze cards, card_versions')
  const deep = `card_${'12000'.padStart(36, '0')}`
  const filters: cardLists.CardFilter[] = [
    {},
    { customer: 'customer 7' },
    { fingerprint: 'fpr_11' },
    { fingerprint: 'fpr_11', customer: 'customer 11' },
  ]
  for (const filter of filters)
    for (const before of [undefined, deep]) {
      const [statement] = await statementsOf((database) =>
        cardLists.listCards(database, 'mer_1', filter, before, 10),
      )
      const read = await rowsRead(statement!, 'mer_1')
      assert.ok(read > 0 && read <= 30, `${JSON.stringify(filter)} ${before}: ${read} rows`)
    }
})
