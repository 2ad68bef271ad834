import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startTestPostgres } from '../test/support/postgres.ts'
import { type AuditQuery, findAuditRecords } from './audit.ts'
import { newId } from './ids.ts'

const postgres = await startTestPostgres({ after })
const zones = {
  access: postgres.open('coffer_access_service'),
  vault: postgres.open('coffer_vault_service'),
  platform: postgres.open('coffer_platform_service'),
}
type Zone = keyof typeof zones

const startMs = Date.UTC(2030, 0, 1)

/** One record a second from `startMs` on, of which every tenth is a reveal and every third is of one card. */
async function seed(zone: Zone, merchantId: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => newId('audit', startMs + index * 1_000))
  await postgres.query(
    `coffer_${zone}_migrator`,
    `insert into audit_records (merchant_id, audit_id, at, actor, key_id, action, object_id, request_id,
       source_address, reason, result)
     select $1, audit_id, $3::timestamptz + (place - 1) * interval '1 second', 'ada', 'key_1',
       case when place % 10 = 0 then 'card.reveal' else 'card.create' end,
       case when place % 3 = 0 then 'card_of_' || $1 else 'card_' || place end,
       case when place = 17 then 'req_17' else 'req_1' end, '127.0.0.1',
       case when place % 10 = 0 then 'a reason' end, case when place % 20 = 1 then 'refused' else 'done' end
     from unnest($2::text[]) with ordinality as seeded (audit_id, place)`,
    [merchantId, ids, new Date(startMs)],
  )
  return ids.toReversed()
}

const queryOf = (merchantId: string, fields: Partial<AuditQuery> = {}): AuditQuery => ({
  merchant_id: merchantId,
  action: null,
  actor: null,
  object_id: null,
  request_id: null,
  result: null,
  from: null,
  to: null,
  cursor: null,
  limit: 1_000,
  ...fields,
})

async function idsOf(zone: Zone, query: AuditQuery): Promise<string[]> {
  const ids: string[] = []
  for (let cursor = query.cursor; ; ) {
    const page = await findAuditRecords(zones[zone], zone, { ...query, cursor })
    ids.push(...page.records.map(({ id }) => id))
    if (page.complete_down_to === null) return ids
    assert.ok(cursor === null || page.complete_down_to < cursor)
    cursor = page.complete_down_to
  }
}

for (const zone of ['access', 'vault', 'platform'] as const)
  test(`the trail of ${zone} is read newest first, in pages of any size, by one merchant alone`, async () => {
    const [merchantId, otherId] = [newId('merchant'), newId('merchant')]
    const ids = await seed(zone, merchantId, 60)
    const ofOther = await seed(zone, otherId, 5)
    for (const limit of [1, 7, 20, 60, 1_000])
      assert.deepEqual(await idsOf(zone, queryOf(merchantId, { limit })), ids, `${limit}`)
    assert.deepEqual(await idsOf(zone, queryOf(otherId)), ofOther)
    assert.deepEqual(await idsOf(zone, queryOf(newId('merchant'))), [])
    const { records } = await findAuditRecords(zones[zone], zone, queryOf(merchantId, { limit: 1 }))
    assert.deepEqual(records[0], {
      id: ids[0],
      object: 'audit_record',
      at: new Date(startMs + 59_000).toISOString(),
      zone,
      action: 'card.reveal',
      actor: 'ada',
      key_id: 'key_1',
      object_id: `card_of_${merchantId}`,
      reason: 'a reason',
      result: 'done',
      request_id: 'req_1',
      source_address: '127.0.0.1',
    })
  })

test('a filter gives what it names: action, actor, object, and a time from which on and before which', async () => {
  const merchantId = newId('merchant')
  const oldestFirst = (await seed('vault', merchantId, 60)).toReversed()
  const placesOf = async (fields: Partial<AuditQuery>, limit = 4) =>
    (await idsOf('vault', queryOf(merchantId, { ...fields, limit }))).map((id) => oldestFirst.indexOf(id) + 1)
  const at = (second: number) => new Date(startMs + second * 1_000).toISOString()
  assert.deepEqual(await placesOf({ action: 'card.reveal' }), [60, 50, 40, 30, 20, 10])
  assert.deepEqual(await placesOf({ actor: 'grace' }), [])
  assert.equal((await placesOf({ actor: 'ada' })).length, 60)
  const card = `card_of_${merchantId}`
  assert.deepEqual(await placesOf({ object_id: card, from: at(47) }), [60, 57, 54, 51, 48])
  assert.deepEqual(await placesOf({ object_id: card, action: 'card.reveal' }), [60, 30])
  assert.deepEqual(await placesOf({ object_id: 'card_1' }), [1])
  assert.deepEqual(await placesOf({ request_id: 'req_17' }), [17])
  assert.deepEqual(await placesOf({ result: 'refused' }), [41, 21, 1])
  assert.deepEqual(await placesOf({ from: at(10), to: at(13) }), [13, 12, 11])
  assert.deepEqual(await placesOf({ from: at(58) }, 1_000), [60, 59])
  assert.deepEqual(await placesOf({ to: at(0) }), [])
  assert.deepEqual(await placesOf({ from: at(3_600) }), [])
})

test('a filter that hardly anything passes looks at so many records and no more, and says where it got to', async () => {
  const merchantId = newId('merchant')
  const ids = await seed('platform', merchantId, 10_005)
  const query = queryOf(merchantId, { actor: 'nobody' })
  const page = await findAuditRecords(zones.platform, 'platform', query)
  assert.deepEqual(page, { records: [], complete_down_to: ids[9_999] })
  const rest = await findAuditRecords(zones.platform, 'platform', { ...query, cursor: page.complete_down_to })
  assert.deepEqual(rest, { records: [], complete_down_to: null })
})
