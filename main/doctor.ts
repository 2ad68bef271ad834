/** `coffer doctor`: looks at everything a start rests on, changes nothing, and says what to do. */
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { isRunningOn } from './data-directory.ts'
import { type DatabaseAddress, findDatabases, inspectDatabase } from './doctor-databases.ts'
import { examineNode } from './node-release.ts'
import { configProblems, type Startable } from './settings.ts'

export type Finding = {
  check: string
  status: 'ok' | 'warning' | 'failed'
  found: string
  /** What to do, where there is something to do. */
  todo?: string
}

type Listen = { host: string; port: number; data_directory: string }
type Environment = Record<string, string | undefined>

const diskWarningBytes = 2 * 1024 ** 3
const diskFailedBytes = 256 * 1024 ** 2

/** In the order they are printed. @param what is going to be started. */
export async function examine(what: Startable, listen: Listen, environment: Environment): Promise<Finding[]> {
  const running = what === 'all' ? await runningSandbox(listen.data_directory) : undefined
  const findings = [checkNode(), ...(await checkConfig(what, environment))]
  if (running === undefined) findings.push(...(await checkPorts(what, listen, environment)))
  else findings.push({ check: 'ports', status: 'ok', found: `Coffer runs here (process ${running.pid})` })
  if (what === 'all' || what === 'simulators')
    findings.push(checkFolder(listen.data_directory), checkDisk(listen.data_directory))
  const databases: DatabaseAddress[] = findDatabases(what, environment, running)
  if (what === 'all' && databases.length === 0)
    findings.push({ check: 'PostgreSQL', status: 'ok', found: 'embedded; looked into while Coffer runs' })
  for (const database of databases) findings.push(...(await inspectDatabase(database)))
  if (what === 'vault' && findings.every(({ check, status }) => check !== 'configuration' || status === 'ok'))
    findings.push(await checkKeyProvider(environment))
  return findings
}

async function checkKeyProvider(environment: Environment): Promise<Finding> {
  const { startKeyCheck } = await import('@coffer/vault/start-key-check.ts')
  return { check: 'key provider', ...(await startKeyCheck(environment)) }
}

/** A line each, and below it what to do. */
export function printed(findings: Finding[]): string {
  const lines = findings.map(({ check, status, found, todo }) => {
    const line = `${status.padEnd(8)} ${check}: ${found}`
    return todo === undefined ? line : `${line}\n         → ${todo}`
  })
  return `${lines.join('\n')}\n`
}

function checkNode(): Finding {
  const check = 'Node'
  const found = process.versions.node
  const { status, problem } = examineNode(found, new Date().toISOString().slice(0, 10))
  if (problem === undefined) return { check, status, found }
  return { check, status, found: problem, todo: 'start it by `npm run coffer`, which brings its own Node' }
}

async function checkConfig(what: Startable, environment: Environment): Promise<Finding[]> {
  const check = 'configuration'
  const problems = await configProblems(what, environment)
  if (problems.length === 0) return [{ check, status: 'ok', found: 'complete' }]
  const todo = 'set it as docs/operating.md says'
  return problems.map((found) => ({ check, status: 'failed', found, todo }))
}

async function checkPorts(what: Startable, listen: Listen, environment: Environment): Promise<Finding[]> {
  const others = what === 'all' || what === 'simulators' ? [] : (['INTERNAL', 'ADMIN'] as const)
  const wanted = [
    { name: 'PORT', host: listen.host, port: listen.port },
    ...others.map((name) => ({
      name: `${name}_PORT`,
      host: environment[`${name}_HOST`] ?? '127.0.0.1',
      port: Number(environment[`${name}_PORT`] ?? 0),
    })),
  ]
  const findings: Finding[] = []
  for (const { name, host, port } of wanted) {
    const check = `port of ${name}`
    if (port === 0) findings.push({ check, status: 'ok', found: 'any free one' })
    else {
      const problem = await listenProblem(host, port)
      if (problem === undefined) findings.push({ check, status: 'ok', found: `${host}:${port} is free` })
      else
        findings.push({
          check,
          status: 'failed',
          found: `${host}:${port}: ${problem}`,
          todo: `stop what listens there, or choose another ${name}`,
        })
    }
  }
  return findings
}

function listenProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise((done) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message))
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => done(undefined)))
  })
}

function checkFolder(folder: string): Finding {
  const check = 'data folder'
  const path = resolve(folder)
  if (!existsSync(path)) {
    const parent = firstExisting(path)
    if (mayWrite(parent)) return { check, status: 'ok', found: `${path} is made at the first start` }
    const todo = 'choose another one with --data-dir, or let this user write there'
    return { check, status: 'failed', found: `${parent} cannot be written to`, todo }
  }
  const { uid, mode } = statSync(path)
  const us = process.getuid?.()
  if (us !== 0 && uid !== us)
    return {
      check,
      status: 'failed',
      found: `${path} belongs to another user`,
      todo: 'start it as that user',
    }
  if (!mayWrite(path))
    return { check, status: 'failed', found: `${path} cannot be written to`, todo: 'mount it for writing' }
  if (!existsSync(join(path, 'coffer-data-directory')))
    return {
      check,
      status: 'warning',
      found: `${path} is not Coffer's yet`,
      todo: 'it must be empty to be used',
    }
  if ((mode & 0o077) !== 0)
    return {
      check,
      status: 'warning',
      found: `${path} can be entered by other users`,
      todo: `the next start closes it; treat the keys in it as known to them: chmod 700 ${path}`,
    }
  return { check, status: 'ok', found: path }
}

function checkDisk(folder: string): Finding {
  const check = 'disk space'
  const { bavail, bsize } = statfsSync(firstExisting(resolve(folder)))
  const bytes = bavail * bsize
  const found = `${(bytes / 1024 ** 3).toFixed(1)} GB free`
  if (bytes >= diskWarningBytes) return { check, status: 'ok', found }
  const status = bytes < diskFailedBytes ? 'failed' : 'warning'
  return { check, status, found, todo: 'make room: a full disk stops every write' }
}

function firstExisting(path: string): string {
  return existsSync(path) ? path : firstExisting(dirname(path))
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

export type RunningSandbox = {
  pid: number
  postgres: { host: string; port: number; superuser: string; password: string }
}

/** The sandbox that has this folder, if there is one. */
export async function runningSandbox(folder: string): Promise<RunningSandbox | undefined> {
  const file = join(folder, 'sandbox.json')
  if (!(await isRunningOn(folder)) || !existsSync(file)) return undefined
  return JSON.parse(readFileSync(file, 'utf8')) as RunningSandbox
}
