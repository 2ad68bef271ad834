// What may become of PostgreSQL under steady traffic: it is killed, restarts itself, cuts its connections, has none
// left, stands still behind a lock, or its disk is full. Nobody lends a hand afterwards: it must go on by itself.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { Agent } from 'undici'
import { checkEverything, describeChecked, untilSettled } from '../support/checkers.ts'
import { temporaryFolder } from '../support/product.ts'
import type { Merchant, Refusal } from '../support/retrying-merchant.ts'
import { within } from '../support/within.ts'
import { newMerchant, startCrashRig } from './crash-matrix.ts'
import { startTraffic } from './traffic.ts'

const boundMs = 60_000
const answersBetween = 60

// Hooks run in the order they were made; what was begun last must end first.
const ends: (() => unknown)[] = []
const own = { after: (end: () => unknown) => void ends.unshift(end) }
after(async () => {
  for (const end of ends) await end()
})

const disk = mountSmallDisk()
const rig = await startCrashRig(own, {
  ...(disk === undefined ? {} : { database_folder: disk }),
  settings: { max_connections: '60', max_wal_size: '96MB', min_wal_size: '32MB' },
})
const { roles, checked } = rig
const { postgres } = roles

/** Does something to the database under traffic and sees it through; gives what was refused meanwhile. */
async function underTraffic(
  t: TestContext,
  happen: (merchant: Merchant) => Promise<void>,
): Promise<Refusal[]> {
  const merchant = await newMerchant(rig)
  await merchant.connect()
  merchant.refusals.length = 0
  const traffic = startTraffic([merchant])
  await traffic.answers(answersBetween, 'there are no answers before')
  await happen(merchant)
  await traffic.answers(answersBetween, 'there are no answers after')
  await traffic.stop()
  await untilSettled(checked, merchant)
  const seen = describeChecked(await checkEverything(checked, merchant))
  const codes = Map.groupBy(merchant.refusals, ({ code }) => code)
  const refused = [...codes].map(([code, all]) => `${all.length} ${code}`).join(', ')
  t.diagnostic(`note: ${t.name}; refused: ${refused || 'nothing'}; ${seen}`)
  for (const { status, code, retry_after, text } of merchant.refusals) {
    assert.equal(status, 503, text)
    assert.ok(['unavailable', 'overloaded', 'outcome_unknown'].includes(code), text)
    assert.ok(Number(retry_after) >= 1, `no Retry-After: ${text}`)
  }
  return merchant.refusals
}

const refused = (merchant: Merchant, count: number) =>
  within(boundMs, 'nothing is refused', () => merchant.refusals.length >= count)

test('PostgreSQL killed and started again: what was acknowledged is there, and all goes on by itself', async (t) => {
  await underTraffic(t, async (merchant) => {
    await postgres.crash()
    await refused(merchant, 10)
    await postgres.startAgain()
  })
})

test('PostgreSQL restarts itself because one of its processes was killed', async (t) => {
  await underTraffic(t, async (merchant) => {
    for (const name of ['vault', 'platform']) {
      const text = `select pid from pg_stat_activity where application_name = 'coffer ${name}' limit 1`
      // It may still be coming back from the one before.
      const found = await within(boundMs, `${name} has no connection`, () =>
        checked.query('vault', text, []).then(
          ([row]) => row,
          () => undefined,
        ),
      )
      const before = merchant.refusals.length
      process.kill(Number(found['pid']), 'SIGKILL')
      await refused(merchant, before + 1)
    }
  })
})

test('every connection cut, again and again', async (t) => {
  await underTraffic(t, async () => {
    for (let times = 0; times < 10; times++) {
      const ours = `application_name like 'coffer %' and pid <> pg_backend_pid()`
      await checked.query('vault', `select pg_terminate_backend(pid) from pg_stat_activity where ${ours}`, [])
      await delay(200)
    }
  })
})

test('PostgreSQL has no connection left: refused while it lasts, and answered when there are some again', async (t) => {
  const taken: pg.Client[] = []
  const connectionString = postgres.url('postgres').expose()
  t.after(() => Promise.all(taken.map((client) => client.end().catch(() => {}))))
  await underTraffic(t, async (merchant) => {
    for (let full = false; !full; ) {
      const client = new pg.Client({ connectionString })
      client.on('error', () => {})
      full = await client.connect().then(
        () => false,
        () => true,
      )
      if (!full) taken.push(client)
    }
    const ours = `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'coffer %'`
    // What they give up is taken at once, by one or the other.
    await within(boundMs, 'nothing is refused', async () => {
      await taken[0]!.query(ours)
      const client = new pg.Client({ connectionString })
      client.on('error', () => {})
      await client.connect().then(
        () => taken.push(client),
        () => {},
      )
      return merchant.refusals.some(({ code }) => code === 'unavailable')
    })
    await refused(merchant, 5)
    await Promise.all(taken.splice(0).map((client) => client.end()))
  })
})

test('every connection waits for a lock: overloaded after its time, and answered when the lock is gone', async (t) => {
  await roles.stop('vault')
  await roles.start('vault', { VAULT_DATABASE_CONNECTIONS_MAX: '2' })
  const refusals = await underTraffic(t, async (merchant) => {
    const client = new pg.Client({ connectionString: postgres.url('postgres', 'vault').expose() })
    await client.connect()
    try {
      await client.query('begin')
      await client.query('lock table cards, card_versions, data_keys in access exclusive mode')
      const reading = Array.from({ length: 300 }, () =>
        merchant.ask('GET', `/v1/cards/${cardIdOf(merchant)}`),
      )
      const reveals = Array.from({ length: 20 }, () =>
        merchant.ask('POST', `/v1/cards/${cardIdOf(merchant)}/reveal`, { reason: 'a lock' }),
      )
      await within(boundMs, 'nothing is refused', () =>
        merchant.refusals.some(({ code }) => code === 'overloaded'),
      )
      await client.query('rollback')
      await Promise.all([...reading, ...reveals])
    } finally {
      await client.end()
    }
  })
  assert.ok(refusals.some(({ code }) => code === 'overloaded'))
  await roles.stop('vault')
  await roles.start('vault')
})

const requestsAtOnce = 4_600
const filesMax = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })) || Infinity
const noSockets = filesMax < requestsAtOnce + 500 ? `needs ${requestsAtOnce} sockets at once` : false
test('a queue that is full refuses, and whatever it took is done', { skip: noSockets }, async (t) => {
  const merchant = await newMerchant(rig)
  const agent = new Agent({ connections: requestsAtOnce, headersTimeout: 120_000, connectTimeout: 60_000 })
  const client = new pg.Client({ connectionString: postgres.url('postgres', 'vault').expose() })
  await client.connect()
  t.after(() => Promise.all([agent.destroy(), client.end()]))
  await merchant.tokenize('4242424242424242')
  await client.query('begin')
  await client.query('lock table cards in access exclusive mode')
  const codes: string[] = []
  const send = async () => {
    const answer = await agent.request({
      origin: roles.at.vault.url,
      path: '/v1/cards',
      method: 'POST',
      headers: { authorization: `Bearer ${merchant.secret_key}`, 'content-type': 'application/json' },
      body: '{"number": "4242424242424242", "exp_month": 12, "exp_year": 2049}',
    })
    const { code = '' } = (await answer.body.json()) as { code?: string }
    codes.push(`${answer.statusCode} ${code}`)
    if (answer.statusCode === 503) assert.equal(answer.headers['retry-after'], '1')
  }
  const sent = Array.from({ length: requestsAtOnce }, send)
  await within(boundMs, 'nothing is refused', () => codes.length > 0)
  assert.deepEqual(new Set(codes), new Set(['503 overloaded']))
  await client.query('rollback')
  await Promise.all(sent)
  const [kept, refused] = ['201 ', '503 overloaded'].map(
    (told) => codes.filter((code) => code === told).length,
  )
  assert.equal(kept! + refused!, requestsAtOnce, [...new Set(codes)].join())
  const count = 'select count(*)::int as count from cards where merchant_id = $1'
  const [row] = await checked.query('vault', count, [merchant.merchant_id])
  assert.equal(row!['count'], kept! + 1)
  t.diagnostic(`note: ${t.name}; ${kept} kept, ${refused} refused`)
})

const cardIdOf = ({ calls }: Merchant) =>
  (JSON.parse(calls.find(({ path, told }) => path === '/v1/cards' && told)!.told!.text) as { id: string }).id

const noDisk = disk === undefined ? 'a small disk can be mounted by root only' : false
test('the disk is full: writes are refused, and go on when there is room again', {
  skip: noDisk,
}, async (t) => {
  await underTraffic(t, async (merchant) => {
    const ballast = join(disk!, 'ballast')
    fill(ballast)
    await refused(merchant, 10)
    await delay(3_000)
    rmSync(ballast)
    // What a supervisor does, where PostgreSQL could not even write what it needs to recover.
    const isOver = await Promise.race([postgres.server.exited.then(() => true), delay(3_000, false)])
    if (isOver) await postgres.startAgain()
  })
})

function mountSmallDisk(): string | undefined {
  const folder = temporaryFolder(own)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=500m,mode=0700', 'none', folder], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  own.after(() => execFileSync('umount', [folder]))
  return folder
}

/** Until not a byte more fits. */
function fill(path: string): void {
  const file = openSync(path, 'w')
  try {
    for (let bytes = 1024 * 1024; bytes >= 1; ) {
      try {
        writeSync(file, Buffer.alloc(bytes))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
        bytes >>= 1
      }
    }
  } finally {
    closeSync(file)
  }
}
