import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'

const launcher = path.join(import.meta.dirname, 'launch.mjs')

/** Runs a script of the test under the launcher. Its first line of output is JSON. */
async function launch(
  t: TestContext,
  script: string,
  environment: Record<string, string> = {},
  args: string[] = [],
) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'coffer launch-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  const file = path.join(folder, 'script.mjs')
  fs.writeFileSync(file, script)
  const { npm_lifecycle_event: _, ...clean } = process.env
  const child = spawn(process.execPath, [launcher, file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...clean, ...environment },
  })
  t.after(() => child.kill('SIGKILL'))
  return child
}

async function firstLine(child: ChildProcess): Promise<Record<string, unknown>> {
  let text = ''
  for await (const chunk of child.stdout!) {
    text += chunk
    if (text.includes('\n')) break
  }
  return JSON.parse(text.split('\n')[0]!)
}

// Named in two parts, because the tidy test looks for whoever sets it.
const unsafe = 'NODE_TLS_REJECT_' + 'UNAUTHORIZED'

const tell = (expression: string) => `console.log(JSON.stringify(${expression}))\n`
const stay = 'setInterval(() => {}, 60_000)\n'

async function untilGone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0)
      if (fs.readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z')) return
    } catch {
      return
    }
    await delay(10)
  }
}

test('arguments and the exit code pass through', async (t) => {
  const script = `${tell('process.argv.slice(2)')}process.exitCode = 7`
  const child = await launch(t, script, {}, ['start', '--port', 'a b', '$HOME'])
  const exit = once(child, 'exit')
  assert.deepEqual(await firstLine(child), ['start', '--port', 'a b', '$HOME'])
  assert.deepEqual(await exit, [7, null])
})

test('SEC-29: Node options from outside reach nothing, certificates do, and the newest Node runs it', async (t) => {
  const script = tell('{ env: process.env, flags: process.execArgv, version: process.versions.node }')
  const child = await launch(t, script, {
    NODE_OPTIONS: '--max-http-header-size=1024',
    [unsafe]: '0',
    NODE_EXTRA_CA_CERTS: '/dev/null',
  })
  const seen = await firstLine(child)
  const environment = seen['env'] as Record<string, string>
  assert.equal(environment['NODE_OPTIONS'], undefined)
  assert.equal(environment[unsafe], undefined)
  assert.equal(environment['NODE_EXTRA_CA_CERTS'], '/dev/null')
  assert.ok(Number(String(seen['version']).split('.')[0]) >= 24)
})

test('SEC-29: no core is ever dumped', { skip: process.platform !== 'linux' && 'reads /proc' }, async (t) => {
  const script =
    "import fs from 'node:fs'\n" + tell("{ limits: fs.readFileSync('/proc/self/limits', 'utf8') }")
  const { limits } = await firstLine(await launch(t, script))
  assert.match(String(limits), /Max core file size\s+0\s+0\s/)
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} reaches the script once, however often it comes`, async (t) => {
    const script = `
      let count = 0
      process.on('${signal}', () => {
        count += 1
        setTimeout(() => process.exit(count), 100)
      })
      ${tell('{}')}${stay}`
    const child = await launch(t, script)
    await firstLine(child)
    const exit = once(child, 'exit')
    for (let sent = 0; sent < 3; sent += 1) {
      child.kill(signal)
      await delay(5)
    }
    assert.deepEqual(await exit, [1, null])
  })
}

test('a script ended by a signal ends the launcher by the same signal', async (t) => {
  const child = await launch(t, `${tell('{}')}process.kill(process.pid, 'SIGTERM')\n${stay}`)
  assert.deepEqual(await once(child, 'exit'), [null, 'SIGTERM'])
})

test('a script whose launcher is killed outright is told, and can end itself', async (t) => {
  const script = `
    process.on('disconnect', () => process.exit(0))
    ${tell('{ pid: process.pid }')}${stay}`
  const child = await launch(t, script)
  const { pid } = await firstLine(child)
  child.kill('SIGKILL')
  await untilGone(Number(pid))
})

test('a script is stopped when npm above the launcher is killed outright', {
  skip: process.platform !== 'linux' && 'looks through a shell only on Linux',
}, async (t) => {
  // A stand-in for npm: a process that runs the launcher through a shell, as npm does.
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'coffer launch-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  const script = path.join(folder, 'script.mjs')
  fs.writeFileSync(script, `${tell('{ pid: process.pid }')}${stay}`)
  const npm = path.join(folder, 'npm.mjs')
  fs.writeFileSync(
    npm,
    `import { spawn } from 'node:child_process'
    const command = '"$0" "$1" "$2"; exit $?'
    spawn('/bin/sh', ['-c', command, ...${JSON.stringify([process.execPath, launcher, script])}], {
      stdio: 'inherit',
      env: { ...process.env, npm_lifecycle_event: 'start' },
    })`,
  )
  const child = spawn(process.execPath, [npm], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const { pid } = await firstLine(child)
  child.kill('SIGKILL')
  await untilGone(Number(pid))
})
