import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { type EmbeddedPostgres, PortTakenError, startEmbeddedPostgres } from './embedded-postgres.ts'

const superuser_password = 'only for this test'
const log = { info: () => {}, warn: () => {} }
const settings = { shared_buffers: '16MB' }

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'coffer postgres-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

// Made once: what is tried on a cluster that is there needs none of its own making.
const made = fs.mkdtempSync(path.join(os.tmpdir(), 'coffer postgres-'))
after(() => fs.rmSync(made, { recursive: true, force: true }))
const maker = await startEmbeddedPostgres({ data_directory: made, superuser_password, settings, log })
await maker.stop()
fs.rmSync(path.join(made, 'postgres-port'))

function folderWithCluster(t: TestContext): string {
  const folder = temporaryFolder(t)
  // It may belong to another user, and stays so.
  execFileSync('cp', ['-a', `${made}/.`, folder])
  return folder
}

async function start(t: TestContext, data_directory: string, port?: number): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ data_directory, port, superuser_password, settings, log })
  t.after(server.stop)
  return server
}

async function query(port: number, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: 'postgres',
    database: 'postgres',
    password: superuser_password,
  })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** Waits for something that must come true; the test runner's timeout ends a wait that does not. */
async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(10)
}

/** Process ids of everything working inside the cluster, and of guards that watch one of `postmasters`. */
function processesOf(cluster: string, session: number): number[] {
  return fs.readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]!.split(' ')
      if (stat[0] === 'Z') return []
      const inside = fs.readlinkSync(`/proc/${name}/cwd`) === cluster
      return inside || Number(stat[3]) === session ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

/** A process that owns an embedded PostgreSQL, in a process group of its own, as the server does. */
async function startOwner(t: TestContext, data_directory: string) {
  const module_url = new URL('./embedded-postgres.ts', import.meta.url).href
  const options = JSON.stringify({ data_directory, superuser_password, settings })
  const script = `
    const { startEmbeddedPostgres } = await import(${JSON.stringify(module_url)})
    const log = { info() {}, warn() {} }
    const server = await startEmbeddedPostgres({ ...${options}, log })
    console.log(JSON.stringify({ port: server.port, pid: server.pid }))`
  const owner: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  t.after(() => owner.kill('SIGKILL'))
  const [line] = await once(owner.stdout!, 'data')
  const { port, pid } = JSON.parse(String(line))
  return { owner, port: port as number, pid: pid as number }
}

test('the settings a kept write rests on are on, and passwords are required', async (t) => {
  const server = await start(t, temporaryFolder(t))
  const rows = await query(server.port, 'select name, setting from pg_settings')
  const actual = new Map(rows.map((row) => [row['name'], row['setting']]))
  assert.equal(actual.get('fsync'), 'on')
  assert.equal(actual.get('full_page_writes'), 'on')
  assert.equal(actual.get('synchronous_commit'), 'on')
  assert.equal(actual.get('data_checksums'), 'on')
  assert.equal(actual.get('server_encoding'), 'UTF8')
  assert.equal(actual.get('listen_addresses'), '127.0.0.1')
  assert.equal(actual.get('log_min_error_statement'), 'panic')
  const stranger = new pg.Client({
    host: '127.0.0.1',
    port: server.port,
    user: 'postgres',
    password: 'wrong',
  })
  await assert.rejects(stranger.connect(), /password authentication failed/)
})

test('a restart keeps data and port, stop leaves no process, a second stop is harmless', async (t) => {
  const folder = folderWithCluster(t)
  const first = await start(t, folder)
  await query(first.port, "create table kept (word text); insert into kept values ('kept')")
  await first.stop()
  await first.stop()
  assert.deepEqual(await first.exited, { code: 0, signal: null })
  if (process.platform === 'linux') {
    await eventually(() => processesOf(path.join(folder, 'postgres'), first.pid).length === 0)
  }
  const second = await start(t, folder)
  assert.equal(second.port, first.port)
  assert.deepEqual(await query(second.port, 'select word from kept'), [{ word: 'kept' }])
})

test('a SIGKILL of the owner ends PostgreSQL and its guard; the next start has every committed row', {
  skip: process.platform !== 'linux' && 'reads /proc',
}, async (t) => {
  const folder = folderWithCluster(t)
  const { owner, port, pid } = await startOwner(t, folder)
  await query(port, "create table kept (word text); insert into kept values ('kept')")
  assert.ok(processesOf(path.join(folder, 'postgres'), pid).length > 1)
  process.kill(-owner.pid!, 'SIGKILL')
  await eventually(() => processesOf(path.join(folder, 'postgres'), pid).length === 0)
  const server = await start(t, folder)
  assert.deepEqual(await query(server.port, 'select word from kept'), [{ word: 'kept' }])
})

test('a PostgreSQL whose owner and guard were both killed is stopped and replaced by the next start', {
  skip: process.platform !== 'linux' && 'reads /proc',
}, async (t) => {
  const folder = folderWithCluster(t)
  const cluster = path.join(folder, 'postgres')
  const { owner, port, pid } = await startOwner(t, folder)
  await query(port, "create table kept (word text); insert into kept values ('kept')")
  for (const id of processesOf(cluster, pid)) {
    if (fs.readlinkSync(`/proc/${id}/exe`).includes('postgres')) continue
    process.kill(id, 'SIGKILL')
  }
  owner.kill('SIGKILL')
  await once(owner, 'exit')
  const server = await start(t, folder)
  assert.notEqual(server.pid, pid)
  assert.deepEqual(await query(server.port, 'select word from kept'), [{ word: 'kept' }])
  await server.stop()
  await eventually(() => processesOf(cluster, server.pid).length === 0)
})

test('the death of PostgreSQL is told, and what was committed survives it', async (t) => {
  const folder = folderWithCluster(t)
  const first = await start(t, folder)
  await query(first.port, "create table kept (word text); insert into kept values ('kept')")
  process.kill(first.pid, 'SIGKILL')
  assert.deepEqual(await first.exited, { code: null, signal: 'SIGKILL' })
  const second = await start(t, folder)
  assert.deepEqual(await query(second.port, 'select word from kept'), [{ word: 'kept' }])
})

test('a postmaster.pid that names a living stranger is no obstacle, and the stranger lives on', async (t) => {
  const folder = folderWithCluster(t)
  const first = await start(t, folder)
  await first.stop()
  const file = path.join(folder, 'postgres', 'postmaster.pid')
  fs.writeFileSync(file, `${process.pid}\n${folder}/postgres\n0\n${first.port}\n\n127.0.0.1\n0 0\nready   \n`)
  const second = await start(t, folder)
  assert.notEqual(second.pid, process.pid)
})

test('a cluster half made when the machine stopped is made anew', async (t) => {
  const folder = temporaryFolder(t)
  const half_made = path.join(folder, 'postgres.unfinished-Ab12Cd', 'cluster', 'base')
  fs.mkdirSync(half_made, { recursive: true })
  const server = await start(t, folder)
  assert.equal(fs.existsSync(path.join(folder, 'postgres.unfinished-Ab12Cd')), false)
  assert.deepEqual(await query(server.port, 'select 1 as one'), [{ one: 1 }])
})

test('a wanted port that is taken is a clear error; a remembered one is given up for another', async (t) => {
  const folder = folderWithCluster(t)
  const other = net.createServer().listen(0, '127.0.0.1')
  t.after(() => other.close())
  await once(other, 'listening')
  const { port } = other.address() as net.AddressInfo
  await assert.rejects(start(t, folder, port), (error) => {
    assert.ok(error instanceof PortTakenError)
    assert.equal(error.message, `Port ${port} is in use by another program.`)
    return true
  })
  fs.writeFileSync(path.join(folder, 'postgres-port'), `${port}\n`)
  const server = await start(t, folder)
  assert.notEqual(server.port, port)
})

test('statements, parameters and passwords reach neither the log nor the process list', async (t) => {
  const folder = folderWithCluster(t)
  const server = await start(t, folder)
  await assert.rejects(query(server.port, "select 'canary in a statement' / 2"), /invalid input syntax/)
  await assert.rejects(
    query(server.port, "do $$ begin raise warning 'told'; raise 'canary' using detail = 'x'; end $$"),
  )
  const messages = fs.readFileSync(server.log_file, 'utf8')
  assert.match(messages, /told/)
  assert.doesNotMatch(messages, /select|do \$\$/)
  if (process.platform === 'linux') {
    assert.ok(!fs.readFileSync(`/proc/${server.pid}/cmdline`, 'utf8').includes(superuser_password))
    assert.ok(!fs.readFileSync(`/proc/${server.pid}/environ`, 'utf8').includes(superuser_password))
  }
})
