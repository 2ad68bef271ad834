import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startTestPostgres } from '../test/support/postgres.ts'
import { removeExpired } from './expiry.ts'
import { newId } from './ids.ts'

const postgres = await startTestPostgres({ after })

test('the relay login of each zone removes what has expired, a batch at a time, and nothing that has not', async () => {
  for (const zone of ['vault', 'platform'] as const) {
    const merchant = newId('merchant')
    const lease = zone === 'platform' ? [', lease_until', ', now()'] : ['', '']
    await postgres.query(
      'postgres',
      `insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id,
         response_status, response_body, expires_at${lease[0]})
       select $1, 'test', 'key ' || n, sha256('x'), 'x', 201, '{}',
         now() + case when n <= 1500 then interval '-1 s' else interval '1 h' end${lease[1]}
       from generate_series(1, 1510) n`,
      [merchant],
      zone,
    )
    const relay = postgres.open(`coffer_${zone}_relay`)
    assert.deepEqual(
      [await removeExpired(relay), await removeExpired(relay), await removeExpired(relay)],
      [1000, 500, 0],
    )
    const left = 'select count(*)::int as n from idempotency_records where merchant_id = $1'
    assert.deepEqual(await postgres.query('postgres', left, [merchant], zone), [{ n: 10 }])
  }
})
