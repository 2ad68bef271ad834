/**
 * The whole product for a test file, started as its users start it: one process with everything in it, on a
 * data directory and ports of its own. Whatever happens to the test, no process of it is left.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { server_flags } from '../../main/server-flags.mjs'
import { copyDataTemplate } from './data-template.ts'
import { processesIn } from './processes.ts'

/** A test, or a whole file through node:test's own `after`. */
export type Scope = { after(end: () => unknown): void }

/** What `sandbox.json` tells tools. */
export type SandboxFile = {
  api_url: string
  secret_key: string
  /** By PSP. */
  simulators: { stripe: string; [psp: string]: string }
  postgres: { host: string; port: number; superuser: string; password: string }
  pid: number
}

export type Exit = { code: number | null; signal: NodeJS.Signals | null }

export type Product = {
  data_directory: string
  sandbox: SandboxFile
  /** Everything it has printed. */
  output(): string
  /** Sends a signal and waits until the process is gone. */
  stop(signal?: 'SIGTERM' | 'SIGINT'): Promise<Exit>
  /** SIGKILL for the whole process group, PostgreSQL's own excepted: its watchdog has to see to that. */
  kill(): Promise<void>
}

export type StartOptions = {
  data_directory?: string
  environment?: Record<string, string>
  /** With nothing made before. */
  is_first_start?: boolean
  /** Behind `start`; without any, any free port. */
  args?: string[]
}

const root = resolve(import.meta.dirname, '..', '..')
const endings = new WeakMap<Scope['after'] | Scope, (() => unknown)[]>()

/** At the end of the scope, what was begun last first: node:test would go the other way. */
function atEnd(scope: Scope, end: () => unknown): void {
  // A file's scope is an object anew each time, around the same function.
  const name = Object.hasOwn(scope, 'after') ? scope.after : scope
  const known = endings.get(name)
  if (known !== undefined) return void known.push(end)
  const ends = [end]
  endings.set(name, ends)
  scope.after(async () => {
    endings.delete(name)
    for (const each of ends.toReversed()) await each()
  })
}

/** An empty folder that is gone when the scope ends. */
export function temporaryFolder(scope: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-test-'))
  atEnd(scope, () => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

export type Command = { child: ChildProcess; output(): string; exited: Promise<Exit> }

/** The `coffer` command in a process group of its own; it ends with the test process. */
export function runCommand(scope: Scope, args: string[], environment: Record<string, string> = {}): Command {
  const { PORT: _port, COFFER_DATA_DIR: _folder, NODE_TEST_CONTEXT: _context, ...inherited } = process.env
  const child = spawn(process.execPath, [...server_flags, 'main/cli.ts', ...args], {
    cwd: root,
    env: { ...inherited, ...environment },
    detached: true,
    // With the channel it stops when this process is gone, however it went.
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  child.channel?.unref()
  let output = ''
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  const exited = new Promise<Exit>((done, fail) => {
    child.once('error', fail)
    child.once('close', (code, signal) => done({ code, signal }))
  })
  atEnd(scope, async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await exited
  })
  return { child, output: () => output, exited }
}

/**
 * As one process, or with `TEST_TARGET=roles` as one process a role on an installed PostgreSQL.
 * @throws with all it printed, where it ends instead of getting ready.
 */
export async function startProduct(scope: Scope, options: StartOptions = {}): Promise<Product> {
  if (process.env['TEST_TARGET'] === 'roles') {
    const { startRolesProduct } = await import('./roles-product.ts')
    return startRolesProduct(scope, options)
  }
  const data_directory = options.data_directory ?? temporaryFolder(scope)
  if (options.is_first_start !== true) copyDataTemplate(data_directory)
  const command = runCommand(scope, ['start', ...(options.args ?? ['--port', 'auto'])], {
    COFFER_DATA_DIR: data_directory,
    // What becomes of a payment without them is what most tests are about; those of webhooks turn them on.
    COFFER_SIMULATOR_WEBHOOKS: 'off',
    ...options.environment,
  })
  await printed(command, 'Stop with Ctrl-C.')
  const { child } = command
  return {
    data_directory,
    sandbox: JSON.parse(readFileSync(join(data_directory, 'sandbox.json'), 'utf8')) as SandboxFile,
    output: command.output,
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      return command.exited
    },
    async kill() {
      process.kill(-child.pid!, 'SIGKILL')
      await command.exited
      await eventually(() => processesIn(data_directory).length === 0)
    },
  }
}

async function printed(command: Command, text: string): Promise<void> {
  const waiting = new AbortController()
  try {
    await Promise.race([
      eventually(() => command.output().includes(text), waiting.signal),
      command.exited.then((exit) =>
        assert.fail(`it ended (${exit.signal ?? exit.code}):\n${command.output()}`),
      ),
    ])
  } finally {
    waiting.abort()
  }
}

/** Waits for what must come true; the test's own time limit ends a wait that does not. */
export async function eventually<Value>(
  look: () => Value | undefined | false | Promise<Value | undefined | false>,
  signal?: AbortSignal,
): Promise<Value> {
  for (;;) {
    const value = await look()
    if (value !== undefined && value !== false) return value
    if (signal?.aborted) throw new Error('given up')
    await delay(20)
  }
}
