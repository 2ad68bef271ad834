/**
 * How imports, exports and rotations of keys find their rows among the cards of large merchants. Each statement keeps one
 * plan a connection, made while its tables may be empty, and is carried out some thousand times in a row.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Database, Query } from '@coffer/core/postgres.ts'
import { encryptedTables } from '../vault/keys/encrypted-columns.ts'
import { reencryptStatement, walkRows } from '../vault/keys/encrypted-rows.ts'
import * as instruments from '../vault/keys/instrument-queries.ts'
import * as changes from '../vault/keys/key-changes.ts'
import * as rotations from '../vault/keys/rotation-queries.ts'
import * as wrapped from '../vault/keys/wrapped-key-queries.ts'
import { createCardSources } from '../vault/transfer/card-sources.ts'
import * as chunks from '../vault/transfer/chunk-queries.ts'
import * as exports from '../vault/transfer/export-queries.ts'
import * as imports from '../vault/transfer/import-queries.ts'
import * as work from '../vault/transfer/import-work-queries.ts'
import { planOf, statementsOf } from './support/plans.ts'
import { type Login, startTestPostgres } from './support/postgres.ts'

const postgres = await startTestPostgres({ after })

/** What grows with cards, and by which columns, beyond the merchant, its rows are to be found. */
const keysOfLarge: Record<string, RegExp> = {
  cards: /card_id|fingerprint|customer/,
  card_versions: /card_id/,
  card_sources: /source_id|card_id/,
  tokens: /token_id/,
  instruments: /number_hmac/,
  import_chunks: /chunk|import_id/,
  idempotency_records: /idempotency_key/,
  audit_records: /audit_id/,
  outbox: /event_id/,
}
/** A row a merchant or fewer: an index read whole will do. */
const small = ['key_state', 'key_holders', 'fingerprint_keys', 'data_keys', 'card_policies', 'key_rotations']

const one = { merchant_id: 'mer_1', card: { billing_address: null } } as never
const row = { ...(one as object), state: 'ready', fence: 1n } as never
type Run = (database: Database & Query) => Promise<unknown>
const service = 'coffer_vault_service'
const relay = 'coffer_vault_relay'

const ofTransfers: [string, Login, Run][] = [
  ['insertImport', service, (database) => imports.insertImport(database, one)],
  ['findImport', service, (database) => imports.findImport(database, 'mer_', 'imp_')],
  ['listImports', service, (database) => imports.listImports(database, 'mer_', undefined, 10)],
  ['cancelImport', service, (database) => imports.cancelImport(database, one)],
  ['beginUpload', service, (database) => imports.beginUpload(database, row)],
  ['endUpload', service, (database) => imports.endUpload(database, row)],
  ['nextVerdicts', service, (database) => imports.nextVerdicts(database, row)],
  ['claimImport', relay, work.claimImport],
  ['endedImports', relay, (database) => work.endedImports(database, [])],
  ['releaseImport', relay, (database) => work.releaseImport(database, row, 1)],
  ['renewLease', service, (database) => work.renewLease(database, row)],
  ['endCheck', service, (database) => work.endCheck(database, row, { layout: {} } as never)],
  ['beginImporting', service, (database) => work.beginImporting(database, row)],
  ['endImport', service, (database) => work.endImport(database, row, { failure: null } as never)],
  ['takeChunk', service, (query) => work.takeChunk(query, row, {} as never)],
  ['ensureInstruments', service, (query) => chunks.ensureInstruments(query, 'mer_', [one])],
  ['holdNumbers', service, (query) => chunks.holdNumbers(query, 'mer_', [one])],
  ['holdFingerprintKeys', service, (query) => chunks.holdFingerprintKeys(query, [one])],
  ['findKnown', service, (query) => chunks.findKnown(query, row, [one])],
  ['insertImported', service, (query) => chunks.insertImported(query, row, [one])],
  ['insertSources', service, (query) => chunks.insertSources(query, row, new Date(), [])],
  ['insertChunk', service, (query) => chunks.insertChunk(query, row, {} as never)],
  ['findSources of a card', service, (database) => createCardSources(database).find('mer_', { card: 'c' })],
  [
    'findSources of an id',
    service,
    (database) => createCardSources(database).find('mer_', { source: 's', source_id: 'i' }),
  ],
  ['insertExport', service, (database) => exports.insertExport(database, row)],
  ['findExport', service, (database) => exports.findExport(database, 'mer_', 'exp_')],
  ['listExports', service, (database) => exports.listExports(database, 'mer_', undefined, 10)],
  ['cardsBehind', service, (database) => exports.cardsBehind(database, row, 'card_~', 10)],
  ['claimExport', relay, (database) => exports.claimExport(database, 1)],
  ['endedExports', relay, (database) => exports.endedExports(database, [])],
  ['releaseExport', relay, (database) => exports.releaseExport(database, row, 1)],
  ['renewExportLease', service, (database) => exports.renewExportLease(database, row, 1)],
  ['addPart', service, (database) => exports.addPart(database, row, {} as never)],
  ['endExport', service, (database) => exports.endExport(database, row, {} as never, () => '')],
  ['expireExport', service, (database) => exports.expireExport(database, row, 'exp_', () => '')],
  ['recordDownload', service, (database) => exports.recordDownload(database, one, row)],
]

const hash = Buffer.alloc(32)
const ofRotations: [string, Login, Run][] = [
  ['insertRotation', service, (database) => rotations.insertRotation(database, { caller: one } as never)],
  ['findRotation', service, (database) => rotations.findRotation(database, ['mer_'], 'rot_')],
  ['listRotations', service, (database) => rotations.listRotations(database, ['mer_'], one)],
  ['holdRotations', relay, (database) => rotations.holdRotations(database, 'holder')],
  ['writeProgress', relay, (database) => rotations.writeProgress(database, 'h', row, {} as never, 'aud_')],
  ['releaseRotations', relay, (database) => rotations.releaseRotations(database, 'holder')],
  ['rotateUsedMuch', relay, rotations.rotateUsedMuch],
  ...encryptedTables.flatMap((table): typeof ofRotations => [
    [
      `walkRows of ${table.table}`,
      service,
      (database) => walkRows(database, table, 'mer_', ['', ''].slice(0, table.key.length), 10),
    ],
    [
      `reencrypt a row of ${table.table}`,
      table.changes ? service : relay,
      (database) => {
        const sealed = table.columns.map(() => hash)
        return database.commit([], reencryptStatement(table, { row: one, sealed }, 'dek_', sealed))
      },
    ],
  ]),
  [
    'copyHashes',
    service,
    (database) =>
      instruments.copyHashes(database, 'mer_', 2, [{ number_hmac: hash, next_number_hmac: hash }]),
  ],
  ['removeHashes', relay, (database) => instruments.removeHashes(database, 'mer_', 2, '', 10)],
  ['supersedeDataKeys', relay, (database) => changes.supersedeDataKeys(database, 'mer_', 'dek_')],
  ['supersededDataKeys', relay, (database) => changes.supersededDataKeys(database, 'mer_')],
  ['retireDataKeys', relay, (database) => changes.retireDataKeys(database, 'mer_')],
  ['merchantAfter', relay, (database) => changes.merchantAfter(database, 'mer_')],
  ['findDataKeysToWrap', relay, (database) => wrapped.findDataKeysToWrap(database, 'kek', ['', ''], 10)],
  ['rewrapDataKey', relay, (database) => wrapped.rewrapDataKey(database, one, one)],
]

for (const [name, login, run] of [...ofTransfers, ...ofRotations])
  test(`${name} reads no large table, nor all that a merchant has in one`, async () => {
    for (const statement of await statementsOf(run))
      for (const node of await planOf(postgres, login, statement)) {
        const table = node['Relation Name']
        if (table === undefined || small.includes(table)) continue
        assert.notEqual(node['Node Type'], 'Seq Scan', `${name} reads all of ${table}`)
        const key = keysOfLarge[table]
        if (key !== undefined && /Index|Bitmap Heap/.test(node['Node Type']))
          assert.match(
            node['Index Cond'] ?? node['Recheck Cond'] ?? '',
            key,
            `${name}: ${JSON.stringify(node)}`,
          )
      }
  })

test('what is open is found by what is open, not among all imports, exports and rotations there ever were', async () => {
  const open: [Run, string][] = [
    [work.claimImport, 'imports_open'],
    [(database) => exports.claimExport(database, 1), 'exports_open'],
    [(database) => rotations.holdRotations(database, 'holder'), 'key_rotations_running'],
  ]
  for (const [run, index] of open) {
    const [statement] = await statementsOf(run)
    const nodes = await planOf(postgres, relay, statement!)
    assert.ok(
      nodes.some((node) => node['Index Name'] === index),
      JSON.stringify(nodes),
    )
  }
})
