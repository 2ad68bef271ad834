/** F-33: the restore drill of docs/backup.md, with its own commands, into a place where nothing is left. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chownSync, cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { choosePostgresUser } from '../main/postgres-cluster.ts'
import { firstApi } from './support/api.ts'
import { goodNumbers } from './support/card-numbers.ts'
import {
  type Checked,
  checkEverything,
  listEvents,
  listPayments,
  readLedger,
  untilSettled,
} from './support/checkers.ts'
import { findInstalledPostgres } from './support/installed-postgres.ts'
import { startProduct, temporaryFolder } from './support/product.ts'
import { createMerchantKey, type Merchant, retryingMerchant } from './support/retrying-merchant.ts'
import { type RoleProcesses, startRoleProcesses } from './support/role-processes.ts'
import { within } from './support/within.ts'

const programs = findInstalledPostgres()
const isRoles = process.env['TEST_TARGET'] === 'roles'
const skip = isRoles ? false : 'npm run test:roles does it'

type Drill = { roles: RoleProcesses; checked: Checked; place: (name: string) => string }

async function startDrill(scope: { after(end: () => unknown): void }): Promise<Drill> {
  const backups = temporaryFolder(scope)
  execFileSync('chmod', ['711', backups])
  const place = (name: string) => join(backups, name)
  mkdirSync(place('archive'))
  giveToPostgres(place('archive'), backups)
  const roles = await startRoleProcesses(scope, {
    installed: true,
    settings: {
      archive_mode: 'on',
      archive_command: `test ! -f ${place('archive')}/%f && cp %p ${place('archive')}/%f`,
      restore_command: `cp ${place('archive')}/%f %p`,
    },
  })
  const checked: Checked = {
    urlOf: roles.urlOf,
    simulator_url: roles.simulator_url,
    query: (zone, text, values) => roles.postgres.query('postgres', text, values, zone),
  }
  return { roles, checked, place }
}

function giveToPostgres(path: string, of: string): void {
  const user = choosePostgresUser(join(of, 'none'))
  if (user === undefined) return
  chownSync(path, user.uid, user.gid)
  execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, path])
}

/** Databases to one place, keys to another. */
function takeBackup({ roles, place }: Drill): void {
  const { server, secrets } = roles.postgres
  const run = (program: string, args: string[]) =>
    execFileSync(join(programs!, program), args, {
      env: { PGPASSWORD: secrets.superuser_password },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  const address = ['-h', server.host, '-p', String(server.port), '-U', 'postgres']
  run('pg_basebackup', [...address, '-D', place('base'), '-X', 'stream', '--checkpoint=fast'])
  run('pg_verifybackup', [place('base')])
  cpSync(join(roles.folder, 'keys'), place('keys'), { recursive: true })
}

/** Everything written so far is in the archive. */
async function archiveAll({ roles }: Drill): Promise<void> {
  const query = (text: string) => roles.postgres.query('postgres', text)
  const [switched] = await query('select pg_walfile_name(pg_switch_wal()) as name')
  await within(30_000, 'the write-ahead log is not archived', async () => {
    const [archived] = await query('select last_archived_wal as name from pg_stat_archiver')
    return String(archived!['name']) >= String(switched!['name'])
  })
}

/** The machine with the databases and the keys is gone; the PSP is not. */
async function loseEverything({ roles }: Drill): Promise<void> {
  await Promise.all((['platform', 'vault', 'access'] as const).map((name) => roles.kill(name)))
  await roles.postgres.crash()
  for (const name of ['postgres', 'keys']) rmSync(join(roles.folder, name), { recursive: true })
}

async function restore({ roles, place }: Drill, target?: string): Promise<void> {
  const cluster = join(roles.folder, 'postgres')
  cpSync(place('base'), cluster, { recursive: true })
  writeFileSync(join(cluster, 'recovery.signal'), '')
  if (target !== undefined)
    writeFileSync(join(cluster, 'postgresql.auto.conf'), `${target}\nrecovery_target_action = 'promote'\n`)
  giveToPostgres(cluster, roles.folder)
  cpSync(place('keys'), join(roles.folder, 'keys'), { recursive: true })
  await roles.postgres.startAgain()
}

async function work(merchant: Merchant): Promise<void> {
  const numbers = Object.values(goodNumbers)
  const cards = await Promise.all(numbers.map((number) => merchant.tokenize(number)))
  const charging = cards.map((card, index) =>
    merchant.charge({
      amount: 1_000 + index,
      card: card.id,
      capture: index % 2 === 0 ? 'automatic' : 'manual',
    }),
  )
  await Promise.all(charging)
}

async function newMerchant({ roles, checked }: Drill): Promise<Merchant> {
  const url = roles.postgres.url
  const key = await createMerchantKey(url('coffer_access_service'), url('coffer_access_relay'))
  const merchant = retryingMerchant({ after }, checked, key)
  await merchant.connect()
  return merchant
}

test('a base backup with the archived log and the keys brings back everything that was acknowledged', {
  skip,
}, async (t) => {
  const drill = await startDrill(t)
  const { roles, checked } = drill
  const merchant = await newMerchant(drill)
  await work(merchant)
  takeBackup(drill)
  await work(merchant)
  await untilSettled(checked, merchant)
  const before = await listEvents(merchant)
  await archiveAll(drill)
  await loseEverything(drill)
  await restore(drill)

  const key = join(roles.folder, 'keys', 'VAULT_WRAPPING_KEY')
  const right = readFileSync(key)
  for (const [wrong, said] of [
    [
      Buffer.from(Buffer.alloc(32, 7).toString('base64')),
      /the wrapping key is not the one.*restore the right key file/,
    ],
    [undefined, /VAULT_WRAPPING_KEY: ENOENT/],
  ] as const) {
    if (wrong === undefined) rmSync(key)
    else writeFileSync(key, wrong)
    const vault = await roles.start('vault')
    assert.deepEqual(await vault.exited, { code: 1, signal: null })
    assert.match(vault.output(), said)
  }
  writeFileSync(key, right)
  await roles.startMissing()

  assert.deepEqual(await listEvents(merchant), before)
  await checkEverything(checked, merchant)
  await work(merchant)
  await untilSettled(checked, merchant)
  const seen = await checkEverything(checked, merchant)
  assert.ok(seen.events > before.length, 'the log does not go on')
})

test('a restore to an earlier moment: what is older is whole, and charges made since are found at the PSP', {
  skip,
}, async (t) => {
  const drill = await startDrill(t)
  const { roles, checked } = drill
  const merchant = await newMerchant(drill)
  await work(merchant)
  await untilSettled(checked, merchant)
  const older = await listPayments(merchant)
  const cards = merchant.calls.filter(({ path }) => path === '/v1/cards')
  takeBackup(drill)
  await work(merchant)
  await untilSettled(checked, merchant)
  const newer = (await listPayments(merchant)).filter(({ id }) => !older.some((payment) => payment.id === id))
  await loseEverything(drill)
  await restore(drill, "recovery_target = 'immediate'")
  await roles.startMissing()

  assert.deepEqual(await listPayments(merchant), older)
  for (const { told, body } of cards) {
    const { id } = JSON.parse(told!.text) as { id: string }
    const revealed = await merchant.read<{ number: string }>(`/v1/cards/${id}/reveal`, { reason: 'drill' })
    assert.equal(revealed.number, body['number'])
  }
  // The comparison that the guide asks for: the PSP's report against what is left.
  const guide = readFileSync(join(import.meta.dirname, '..', 'docs', 'backup.md'), 'utf8')
  const compare = /^select attempt_id from references_at_psp where .*;$/m.exec(guide)![0]
  const moved = (await readLedger(checked)).filter(({ status }) =>
    ['succeeded', 'authorized'].includes(status),
  )
  const references = 'with references_at_psp as (select unnest($1::text[]) as attempt_id)'
  const lost = await checked.query('platform', `${references} ${compare}`, [
    moved.map(({ reference }) => reference),
  ])
  assert.ok(newer.length > 0)
  assert.deepEqual(
    lost.map((row) => row['attempt_id']).sort(),
    newer.map((payment) => payment.attempts[0]!.id).sort(),
  )
})

test('a sandbox is its data folder: copied while it is stopped, it goes on elsewhere', {
  skip: isRoles,
}, async (t) => {
  const folder = temporaryFolder(t)
  const first = await startProduct(t, { data_directory: join(folder, 'first') })
  const card = await firstApi(first).card()
  const payment = await firstApi(first).createPayment({ card: card.id })
  await first.stop()
  execFileSync('cp', ['-a', join(folder, 'first'), join(folder, 'copy')])
  renameSync(join(folder, 'first'), join(folder, 'gone'))

  const api = firstApi(await startProduct(t, { data_directory: join(folder, 'copy') }))
  const body = { reason: 'drill' }
  const revealed = await api.call<{ number: string }>('POST', `/v1/cards/${card.id}/reveal`, { body })
  assert.equal(revealed.body.number, '4242424242424242')
  assert.equal((await api.getPayment(payment.body.id)).text, payment.text)
  const events = await api.events()
  assert.ok(events.some(({ object_id }) => object_id === payment.body.id))
  assert.deepEqual(
    events.map(({ sequence }) => sequence),
    events.map((_event, index) => index + 1),
  )
})
