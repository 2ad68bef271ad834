import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { quietLog, startTestPostgres } from '../test/support/postgres.ts'
import { Failure, failures } from './errors.ts'
import { newId } from './ids.ts'
import { takeFromOutbox } from './outbox.ts'
import { CommitUnknown, isTransient, openDatabase, type Statement } from './postgres.ts'
import { Secret } from './secret.ts'

const postgres = await startTestPostgres({ after })
const service = postgres.open('coffer_vault_service')

const addInstrument = (merchant: string, digest = newId('fingerprint')): Statement => ({
  name: 'test_add_instrument',
  text: `insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
    values ($1, sha256($2::bytea), $2, 1)`,
  values: [merchant, digest],
})
const count: Statement = { name: 'test_count', text: 'select count(*) as n from instruments', values: [] }

async function instrumentsOf(merchant: string): Promise<number> {
  const text = 'select count(*)::int as n from instruments where merchant_id = $1'
  return (await postgres.query('postgres', text, [merchant]))[0]!['n'] as number
}

/** Backends of the service login that match, as the superuser sees them. */
async function backends(condition: string): Promise<number[]> {
  const text = `select pid from pg_stat_activity where usename = 'coffer_vault_service' and ${condition}`
  return (await postgres.query('postgres', text)).map((row) => row['pid'] as number)
}

/** Waits for something that must come true; the test runner's timeout ends a wait that does not. */
async function backendThat(condition: string): Promise<number> {
  for (;;) {
    const [pid] = await backends(condition)
    if (pid !== undefined) return pid
    await delay(5)
  }
}

test('SEC-13: a transaction sees the merchants it names, none if it names none, and no others', async () => {
  const [one, other, third] = [newId('merchant'), newId('merchant'), newId('merchant')]
  await service.commit([one, other], addInstrument(one))
  await service.commit([one, other], addInstrument(other))
  const seen = async (merchants: string[]) => (await service.read<{ n: bigint }>(merchants, count))[0]!.n
  assert.equal(await seen([]), 0n)
  assert.equal(await seen([third]), 0n)
  assert.equal(await seen([one]), 1n)
  assert.equal(await seen([one, other, third]), 2n)
  assert.equal(await seen(['']), 0n)
})

test('SEC-13: a row of a merchant the transaction does not name can be neither written nor changed', async () => {
  const [mine, foreign] = [newId('merchant'), newId('merchant')]
  await assert.rejects(service.commit([mine], addInstrument(foreign)), { code: '42501' })
  await assert.rejects(service.commit([], addInstrument(mine)), { code: '42501' })
  assert.equal(await instrumentsOf(foreign), 0)
})

test('SEC-13: what one transaction may see is forgotten before the next on the same connection', async () => {
  const merchant = newId('merchant')
  const single = postgres.open('coffer_vault_service', { connections_max: 1 })
  await single.commit([merchant], addInstrument(merchant))
  assert.equal((await single.read<{ n: bigint }>([merchant], count))[0]!.n, 1n)
  assert.equal((await single.read<{ n: bigint }>([], count))[0]!.n, 0n)
  const bare = await postgres.query('coffer_vault_service', 'select count(*)::int as n from instruments')
  assert.deepEqual(bare, [{ n: 0 }])
})

test('a statement that fails is reported as it is, leaves nothing behind, and the connection goes on', async () => {
  const merchant = newId('merchant')
  const digest = newId('fingerprint')
  const single = postgres.open('coffer_vault_service', { connections_max: 1 })
  await single.commit([merchant], addInstrument(merchant, digest))
  await assert.rejects(single.commit([merchant], addInstrument(merchant, digest)), { code: '23505' })
  assert.equal(await instrumentsOf(merchant), 1)
  await single.commit([merchant], addInstrument(merchant))
  assert.equal(await instrumentsOf(merchant), 2)
})

test('a transaction that fails in the middle leaves nothing of what came before', async () => {
  const merchant = newId('merchant')
  const digest = newId('fingerprint')
  const failed = service.transaction([merchant], async (query) => {
    await query(addInstrument(merchant, digest))
    await query(addInstrument(merchant, digest))
  })
  await assert.rejects(failed, { code: '23505' })
  const abandoned = service.transaction([merchant], async (query) => {
    await query(addInstrument(merchant))
    throw new Failure('forbidden')
  })
  await assert.rejects(abandoned, { code: 'forbidden' })
  assert.equal(await instrumentsOf(merchant), 0)
  await service.transaction([merchant], (query) => query(addInstrument(merchant)))
  assert.equal(await instrumentsOf(merchant), 1)
})

test('F-04: a connection lost under a commit is unknown, under a read just unavailable, and the next one works', async () => {
  const sleep: Statement = { name: 'test_sleep', text: 'select pg_sleep(60)', values: [] }
  const kill = async () => {
    const pid = await backendThat(`query like '%pg_sleep%'`)
    // It waits for the end, so that the next one does not find this one again.
    await postgres.query('postgres', 'select pg_terminate_backend($1, 30000)', [pid])
  }
  const [committed] = await Promise.allSettled([service.commit([], sleep), kill()])
  assert.ok(committed.status === 'rejected' && committed.reason instanceof CommitUnknown)
  const [read] = await Promise.allSettled([service.read([], sleep), kill()])
  assert.ok(read.status === 'rejected' && (read.reason as Failure).code === 'unavailable')
  const [transaction] = await Promise.allSettled([service.transaction([], (query) => query(sleep)), kill()])
  assert.ok(transaction.status === 'rejected' && (transaction.reason as Failure).code === 'unavailable')
  assert.equal((await service.read<{ n: bigint }>([], count))[0]!.n, 0n)
})

test('a cancelled statement is a definite failure: nothing was committed', async () => {
  const sleep: Statement = { name: 'test_sleep', text: 'select pg_sleep(60)', values: [] }
  const cancel = async () => {
    const pid = await backendThat(`query like '%pg_sleep%' and state = 'active'`)
    await postgres.query('postgres', 'select pg_cancel_backend($1)', [pid])
  }
  const [committed] = await Promise.allSettled([service.commit([], sleep), cancel()])
  assert.equal(committed.status === 'rejected' && committed.reason.code, '57014')
})

test('F-06: a commit whose wait for the synchronous standby was cancelled is unknown, though PostgreSQL says COMMIT', async () => {
  const merchant = newId('merchant')
  const setStandby = async (name: string) => {
    await postgres.query('postgres', `alter system set synchronous_standby_names = '${name}'`)
    await postgres.query('postgres', 'select pg_reload_conf()')
  }
  const cancel = async () => {
    const pid = await backendThat(`wait_event = 'SyncRep'`)
    await postgres.query('postgres', 'select pg_cancel_backend($1)', [pid])
  }
  await setStandby('absent')
  try {
    // The setting takes effect a moment after it is made: until then commits do not wait.
    const commitUntilOneWaits = async () => {
      for (;;) await service.commit([merchant], addInstrument(merchant))
    }
    const [committed] = await Promise.allSettled([commitUntilOneWaits(), cancel()])
    assert.ok(committed.status === 'rejected' && committed.reason instanceof CommitUnknown)
    const adding = service.transaction([merchant], (query) => query(addInstrument(merchant)))
    const [transaction] = await Promise.allSettled([adding, cancel()])
    assert.ok(transaction.status === 'rejected' && transaction.reason instanceof CommitUnknown)
  } finally {
    await setStandby('')
  }
  await service.commit([merchant], addInstrument(merchant))
})

test('only serialization failures and deadlocks are worth running again', () => {
  assert.deepEqual(
    ['40001', '40P01', '23505', undefined].map((code) => isTransient({ code })),
    [true, true, false, false],
  )
  assert.equal(isTransient(null), false)
})

test('a whole number of PostgreSQL is a bigint, exact beyond what a float holds', async () => {
  const statement = {
    name: 'test_bigint',
    text: 'select $1::bigint as n, $2::int as small',
    values: ['9007199254740993', 7],
  }
  assert.deepEqual(await service.read([], statement), [{ n: 9007199254740993n, small: 7 }])
})

test('F-08: a pool that is used up answers 503 in time, and recovers', async (t) => {
  const single = postgres.open('coffer_vault_service', { connections_max: 1 })
  await single.transaction([], async (query) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const waiting = single.read([], count)
    t.mock.timers.tick(5_000)
    await assert.rejects(waiting, (error) => error instanceof Failure && failures[error.code].status === 503)
    t.mock.timers.reset()
    await query(count)
  })
  await single.read([], count)
})

test('F-14: the outbox gives the oldest first, every row until it is acknowledged, and none twice after', async () => {
  const relay = postgres.open('coffer_vault_relay')
  const merchant = newId('merchant')
  const add = (eventId: string): Statement => ({
    name: 'test_add_event',
    text: `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           values ($1, $2, 'card.created', 'card_1', '{"a": 1}', '2026-01-02T03:04:05.678Z')`,
    values: [eventId, merchant],
  })
  const ids = [newId('event'), newId('event'), newId('event')]
  for (const id of [...ids].reverse()) await service.commit([merchant], add(id))
  const first = await takeFromOutbox(relay, [], 2)
  assert.deepEqual(
    first.map((event) => event.event_id),
    [ids[2], ids[1]],
  )
  assert.deepEqual(first[0], {
    event_id: ids[2],
    merchant_id: merchant,
    type: 'card.created',
    object_id: 'card_1',
    data: '{"a": 1}',
    created_at: '2026-01-02T03:04:05.678Z',
  })
  // A transaction that began earlier and commits later has the lower position: it must not be skipped.
  const late = newId('event')
  await service.transaction([merchant], async (query) => {
    await query(add(late))
    await postgres.query(
      'coffer_vault_migrator',
      `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
      values ('evt_later', '${merchant}', 'card.created', 'card_2', '{}', now())`,
    )
    assert.deepEqual(
      (await takeFromOutbox(relay, [ids[2]!, ids[1]!], 9)).map((event) => event.event_id),
      [ids[0], 'evt_later'],
    )
  })
  assert.deepEqual(
    (await takeFromOutbox(relay, [ids[0]!, 'evt_later'], 9)).map((event) => event.event_id),
    [late],
  )
  assert.deepEqual(await takeFromOutbox(relay, [late, late, 'evt_unknown'], 9), [])
})

test('a server that would not keep what it acknowledges is refused, and the reason is told', async () => {
  // A setting of the login stands in for one of the server: the check reads what holds for its connection.
  const login = 'coffer_access_service'
  await postgres.query('postgres', `alter role ${login} set synchronous_commit = 'local'`)
  const database = postgres.open(login)
  for (const attempt of [
    () => database.check(),
    () => database.read([], count),
    () => database.commit([], count),
  ])
    await assert.rejects(attempt, (error) => {
      assert.ok(error instanceof Failure && error.code === 'unavailable')
      const reason = (error.cause as Error).message
      assert.equal(reason, 'PostgreSQL has synchronous_commit = local; Coffer needs on or remote_apply')
      return true
    })
  await postgres.query('postgres', `alter role ${login} reset synchronous_commit`)
  await database.check()
})

test('a server with fsync off is refused', async (t) => {
  const unsafe = await startTestPostgres(t, { fsync: 'off' })
  await assert.rejects(unsafe.open('coffer_vault_service').check(), (error) => {
    assert.match(((error as Failure).cause as Error).message, /fsync = off; Coffer needs on/)
    return true
  })
})

test('a database that is not there is unavailable', async (t) => {
  const url = new Secret('postgres://nobody:x@127.0.0.1:1/none')
  const database = openDatabase({ url, name: 'absent', connections_max: 1, log: quietLog })
  t.after(() => database.close())
  await assert.rejects(database.check(), { code: 'unavailable' })
  await assert.rejects(database.commit([], count), { code: 'unavailable' })
})

test("what is PostgreSQL's own trouble, a full disk for one, is unavailable and no fault of a row", async () => {
  const failing = (code: string): Statement => ({
    name: `test_fail_${code}`,
    text: `do $$ begin raise exception using errcode = '${code}'; end $$`,
    values: [],
  })
  for (const code of ['53100', '53200', '58030']) {
    await assert.rejects(service.commit([], failing(code)), { code: 'unavailable' })
    await assert.rejects(service.read([], failing(code)), { code: 'unavailable' })
    await assert.rejects(
      service.transaction([], (query) => query(failing(code))),
      { code: 'unavailable' },
    )
  }
  await assert.rejects(service.commit([], failing('23514')), { code: '23514' })
})
