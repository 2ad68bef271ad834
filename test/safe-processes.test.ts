/** What the operating system and Node are told about the processes of the roles. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { after, test } from 'node:test'
import { server_flags } from '../main/server-flags.mjs'
import { startRoleProcesses } from './support/role-processes.ts'

const root = resolve(import.meta.dirname, '..')
const linux = { skip: process.platform !== 'linux' && 'reads /proc' }
const roles = await startRoleProcesses({ after })
const vault = roles.running('vault')!

test('SEC-29: no signal opens a debugger in the vault', linux, async () => {
  const targetOf = (fd: string) => {
    try {
      return readlinkSync(`/proc/${vault.pid}/fd/${fd}`, { encoding: 'utf8' })
    } catch {
      return '' // closed meanwhile
    }
  }
  const listening = () => {
    const targets = readdirSync(`/proc/${vault.pid}/fd`).map(targetOf)
    // The table is of all processes: its fourth column is the state, its tenth the inode.
    const table = readFileSync(`/proc/${vault.pid}/net/tcp`, 'utf8').split('\n')
    const rows = table.map((line) => line.trim().split(/\s+/))
    return rows.filter(
      ([, , , state, , , , , , inode]) => state === '0A' && targets.includes(`socket:[${inode}]`),
    ).length
  }
  const before = listening()
  assert.ok(before > 0)
  process.kill(vault.pid, 'SIGUSR1')
  const answer = await fetch(`${roles.at.vault.admin_url}/readyz`)
  assert.equal(answer.status, 200)
  assert.equal(listening(), before)
  assert.doesNotMatch(vault.output(), /debugger/i)
})

test('SEC-33: neither command line nor environment of a role holds a secret', linux, () => {
  const secrets = Object.entries(roles.postgres.secrets.environment).map(([name, value]) => ({ name, value }))
  assert.ok(secrets.length > 5)
  for (const place of ['access', 'vault', 'platform'] as const) {
    const { pid } = roles.running(place)!
    const seen = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8')).join('\0')
    for (const { name, value } of secrets) assert.ok(!seen.includes(value.trim()), `${name} of ${place}`)
    assert.doesNotMatch(seen, /BEGIN [A-Z ]*PRIVATE KEY|postgres(ql)?:\/\/[^\0]*:[^\0]*@/)
  }
})

/** Under the flags of the launcher. */
function tried(code: string) {
  const script = `try { ${code}; console.log('done') } catch (error) { console.log(error.code ?? error.name) }`
  const child = spawnSync(process.execPath, [...server_flags, '--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  assert.equal(child.status, 0, child.stderr)
  return child.stdout.trim()
}

test('SEC-30: a server cannot load native code or reach __proto__', () => {
  assert.equal(
    tried(`process.dlopen({ exports: {} }, '${join(roles.folder, 'addon.node')}')`),
    'ERR_DLOPEN_DISABLED',
  )
  assert.equal(tried(`if (({}).__proto__ !== undefined) throw new Error('there')`), 'done')
})

test('SEC-29: a live role that is started past the launcher, without its flags, says what is missing', async (t) => {
  const child = spawn(process.execPath, ['main/cli.ts', 'start', '--role', 'vault'], {
    cwd: root,
    env: { PATH: process.env['PATH'], COFFER_MODE: 'live' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let output = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text))
  assert.deepEqual(await once(child, 'close'), [1, null])
  assert.match(output, /not fit for card numbers: .*--disable-sigusr1.*npm run coffer/)
})
