/** Starting and stopping, as its users see it: what is printed, what is left, what is refused. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import { apiOf, assertProblem, firstApi, simulatorOf } from './support/api.ts'
import { freePort } from './support/free-port.ts'
import { processesIn } from './support/processes.ts'
import { eventually, runCommand, startProduct, temporaryFolder } from './support/product.ts'

const run = promisify(execFile)

const port = await freePort()
const product = await startProduct(
  { after },
  {
    environment: { PORT: String(port) },
    args: [],
    is_first_start: true,
  },
)
const { sandbox, data_directory } = product
const api = firstApi(product)

test('PORT and COFFER_DATA_DIR are honoured', async () => {
  assert.equal(sandbox.api_url, `http://127.0.0.1:${port}`)
  assert.ok(existsSync(join(data_directory, 'postgres', 'PG_VERSION')))
})

test('the banner tells everything a newcomer needs, and never to put real cards here', async () => {
  const banner = product.output()
  const line = (name: string) => new RegExp(`^ +${name} +(.*)$`, 'm').exec(banner)?.[1] ?? ''
  assert.equal(line('API'), sandbox.api_url)
  assert.equal(line('Reference'), `${sandbox.api_url}/docs`)
  assert.equal(line('Event log'), `${sandbox.api_url}/v1/events`)
  assert.equal(line('Metrics'), `${sandbox.api_url}/metrics`)
  assert.match(line('PostgreSQL'), new RegExp(`^127\\.0\\.0\\.1:${sandbox.postgres.port} `))
  assert.equal(line('Data folder'), data_directory)
  assert.equal(line('Secret key'), sandbox.secret_key)
  assert.match(line('Simulators'), new RegExp(sandbox.simulators.stripe))
  assert.match(banner, /sandbox: never put real cards here/)
})

test('the curl of the banner works exactly as printed', async (t) => {
  const printed = /^ +curl (?:.*\\\n)*.*$/m.exec(product.output())?.[0]
  assert.ok(printed)
  const found = await run('sh', ['-c', 'command -v curl']).catch(() => undefined)
  if (found === undefined) return t.skip('there is no curl on this machine')
  const { stdout } = await run('sh', ['-c', printed])
  const card = JSON.parse(stdout) as Card
  assert.match(card.id, /^card_/)
  assert.equal(card.last4, '4242')
  assert.equal((await api.call<Card>('GET', `/v1/cards/${card.id}`)).text, stdout)
})

test('sandbox.json has it all for tools, and only its owner can read it or any secret', () => {
  assert.match(sandbox.secret_key, /^sk_test_[0-9a-hjkmnp-tv-z]{58}$/)
  assert.match(sandbox.simulators.stripe, /^http:\/\/127\.0\.0\.1:\d+$/)
  const modeOf = (name: string) => statSync(join(data_directory, name)).mode & 0o777
  assert.equal(modeOf('.'), 0o700)
  for (const entry of readdirSync(data_directory, { withFileTypes: true }))
    assert.equal(modeOf(entry.name), entry.isDirectory() ? 0o700 : 0o600, entry.name)
  for (const name of [
    'sandbox.json',
    'secret-key',
    'vault-wrapping.key',
    'vault-fingerprint.key',
    'coffer.log',
  ])
    assert.ok(existsSync(join(data_directory, name)), name)
})

test('health, readiness and metrics need no key', async () => {
  const open = apiOf(sandbox.api_url, null)
  assert.equal((await open.call('GET', '/healthz')).text, '{"status":"ok"}')
  assert.equal((await open.call('GET', '/readyz')).text, '{"status":"ready","warnings":[]}')
  const metrics = await open.call('GET', '/metrics')
  assert.match(metrics.headers.get('content-type') ?? '', /^text\/plain/)
  for (const series of [
    'coffer_http_requests_total',
    'coffer_oldest_unknown_attempt_seconds',
    'coffer_sequencer_lag_seconds',
    'coffer_group_commit_queue_length',
    'coffer_postgres_pool_waiting',
    'coffer_log_detector_hits_total 0',
  ])
    assert.ok(metrics.text.includes(`\n${series}`), series)
})

test('a second instance on the same folder is refused by name, and the first goes on', async (t) => {
  const second = runCommand(t, ['start', '--port', 'auto', '--data-dir', data_directory])
  assert.deepEqual(await second.exited, { code: 1, signal: null })
  assert.match(second.output(), new RegExp(`already running on .*process ${sandbox.pid}`))
  assert.doesNotMatch(second.output(), /\n {4}at /)
  assert.equal((await api.card()).status, 'active')
})

test('a taken port is told at once, and nothing is left behind', async (t) => {
  const folder = join(temporaryFolder(t), 'data')
  const taken = runCommand(t, ['start', '--port', String(port), '--data-dir', folder])
  assert.deepEqual(await taken.exited, { code: 1, signal: null })
  assert.match(taken.output(), new RegExp(`Port ${port} .*taken.*--port auto`))
  assert.equal(existsSync(folder), false)
})

test('every command has help, and what is not understood is refused with it', async (t) => {
  const help = async (args: string[]) => {
    const command = runCommand(t, args)
    return { ...(await command.exited), output: command.output() }
  }
  const [all, start, migrate, wrong, wrongPort] = await Promise.all([
    help(['--help']),
    help(['start', '--help']),
    help(['migrate', '--help']),
    help(['start', '--prot', '1']),
    help(['start', '--port', '70000']),
  ])
  assert.deepEqual([all.code, start.code, migrate.code], [0, 0, 0])
  for (const name of ['start', 'migrate']) assert.match(all.output, new RegExp(`^ +${name} `, 'm'))
  for (const option of ['--port', '--data-dir', '--role', '--host', 'PORT', 'COFFER_DATA_DIR', '.coffer'])
    assert.ok(start.output.includes(option), option)
  assert.match(migrate.output, /MIGRATION_DATABASE_URL/)
  assert.equal(wrong.code, 1)
  assert.match(wrong.output, /unknown option '--prot'[\s\S]*Usage: coffer start/)
  assert.equal(wrongPort.code, 1)
  assert.match(wrongPort.output, /0 to 65535, or 'auto'/)
})

test('Ctrl-C answers what was accepted, refuses nothing with a 5xx, and leaves no process', async () => {
  const simulator = simulatorOf(product)
  const card = await api.card()
  const before = (await simulator.ledger()).length
  await simulator.faults({ kind: 'slow', delay_ms: 1_000 })
  const payments = Array.from({ length: 10 }, () => api.createPayment({ card: card.id }))
  // Each is on its way at the PSP, so each was accepted.
  await eventually(async () => (await simulator.ledger()).length === before + payments.length)
  const load = Array.from({ length: 4 }, async () => {
    const statuses: number[] = []
    try {
      for (;;) statuses.push((await api.createCard()).status)
    } catch {
      return statuses // nobody listens any more
    }
  })
  assert.deepEqual(await product.stop('SIGINT'), { code: 0, signal: null })
  for (const answer of await Promise.all(payments)) {
    assert.equal(answer.status, 201, answer.text)
    assert.equal(answer.body.status, 'captured')
  }
  assert.deepEqual(
    [...new Set((await Promise.all(load)).flat())].filter((status) => status !== 201),
    [],
  )
  await eventually(() => processesIn(data_directory).length === 0)
})

test('a start, some work and a stop leave nothing in the log that anybody has to look at', () => {
  const lines = readFileSync(join(data_directory, 'coffer.log'), 'utf8').trim().split('\n')
  const troubling = lines.filter((line) => ['warn', 'error'].includes(JSON.parse(line).level))
  assert.deepEqual(troubling, [])
})

test('SIGKILL of everything loses nothing: cards, payments, events and the key are there again', async (t) => {
  const folder = temporaryFolder(t)
  const first = await startProduct(t, { data_directory: folder })
  const client = firstApi(first)
  const card = await client.card()
  const payment = await client.createPayment({ card: card.id, reference: 'order 1' }, 'once')
  const acknowledged: string[] = [card.id]
  const load = Array.from({ length: 8 }, async () => {
    try {
      for (;;) acknowledged.push((await client.card()).id)
    } catch {
      // the moment of the kill
    }
  })
  await eventually(() => acknowledged.length > 200)
  await first.kill()
  await Promise.all(load)

  const second = await startProduct(t, { data_directory: folder })
  assert.equal(second.sandbox.secret_key, first.sandbox.secret_key)
  const again = firstApi(second)
  const kept = await Promise.all(acknowledged.map((id) => again.call<Card>('GET', `/v1/cards/${id}`)))
  assert.deepEqual(
    kept.filter(({ status }) => status !== 200),
    [],
  )
  assert.equal((await again.getPayment(payment.body.id)).text, payment.text)
  const repeated = await again.createPayment({ card: card.id, reference: 'order 1' }, 'once')
  assert.deepEqual([repeated.status, repeated.text], [201, payment.text])
  const isTold = (events: { object_id: string }[]) => {
    const told = new Set(events.map((event) => event.object_id))
    return acknowledged.every((id) => told.has(id))
  }
  const events = await eventually(async () => {
    const all = await again.events()
    return isTold(all) && all
  })
  assert.deepEqual(
    events.map((event) => event.sequence),
    events.map((_event, index) => index + 1),
  )
  assert.deepEqual(await second.stop('SIGTERM'), { code: 0, signal: null })
  await eventually(() => processesIn(folder).length === 0)
})

test('without the key files that its database was written with it does not start, and makes no new ones', async (t) => {
  const folder = temporaryFolder(t)
  const first = await startProduct(t, { data_directory: folder })
  const card = await firstApi(first).card()
  await first.stop()

  const refused = async (expected: RegExp) => {
    const command = runCommand(t, ['start', '--port', 'auto', '--data-dir', folder])
    assert.deepEqual(await command.exited, { code: 1, signal: null })
    assert.match(command.output(), expected)
    assert.doesNotMatch(command.output(), /Coffer is ready/)
    await eventually(() => processesIn(folder).length === 0)
  }
  for (const [name, replacement] of [
    ['vault-wrapping.key', undefined],
    ['vault-wrapping.key', Buffer.alloc(32, 7)],
    ['vault-fingerprint.key', Buffer.alloc(32, 7)],
  ] as const) {
    const file = join(folder, name)
    renameSync(file, `${file}.away`)
    if (replacement === undefined) {
      await refused(new RegExp(`${name} is missing.*restore`, 's'))
      assert.equal(existsSync(file), false)
    } else {
      writeFileSync(file, replacement, { mode: 0o600 })
      await refused(/key is not the one this database was written with: restore the right key file/)
      assert.deepEqual(readFileSync(file), replacement)
    }
    renameSync(`${file}.away`, file)
  }
  const again = firstApi(await startProduct(t, { data_directory: folder }))
  const revealed = await again.call<{ number: string }>('POST', `/v1/cards/${card.id}/reveal`, {
    body: { reason: 'after a restart' },
  })
  assert.equal(revealed.body.number, '4242424242424242')
  assertProblem(await apiOf(again.url, 'sk_test_wrong').call('GET', '/v1/events'), {
    status: 401,
    code: 'unauthenticated',
  })
})
