import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { server_flags } from '../main/server-flags.mjs'
import { freePort } from '../test/support/free-port.ts'
import { type StartedProcess, startProcess } from './processes.ts'

/** What the sandbox writes for tools; only what the benchmark reads. */
export type Sandbox = {
  api_url: string
  secret_key: string
  postgres: { host: string; port: number; superuser: string; password: string }
}

export type Product = { started: StartedProcess; sandbox: Sandbox }
export type Simulator = { started: StartedProcess; url: string }

type StartInput = {
  repository: string
  /** The script that starts the product, `main/cli.ts` but for trials. */
  entry: string
  data_directory: string
  /** Told of the process at once, so that an interruption during the start finds it. */
  onSpawn: (started: StartedProcess) => void
}

const START_DEADLINE_MS = 60_000

/**
 * Starts the product with everything in one process, its PSP calls going to `stripe_url`, and waits until
 * it is ready.
 */
export async function startProduct(
  input: StartInput & { stripe_url: string; environment?: Record<string, string> },
): Promise<Product> {
  const started = startProcess({
    args: [...server_flags, input.entry, 'start', '--port', 'auto'],
    cwd: input.repository,
    env: {
      COFFER_DATA_DIR: input.data_directory,
      COFFER_SIMULATOR_URLS: `stripe=${input.stripe_url}`,
      ...input.environment,
    },
    log_file: `${input.data_directory}-product.log`,
  })
  input.onSpawn(started)
  const file = join(input.data_directory, 'sandbox.json')
  await eventually('the product', started, async () => existsSync(file))
  const sandbox = JSON.parse(readFileSync(file, 'utf8')) as Sandbox
  await eventually('the product', started, () => answers(`${sandbox.api_url}/readyz`))
  return { started, sandbox }
}

/** Starts the simulators in a process of their own, with the clock that times their requests. */
export async function startSimulator(input: StartInput): Promise<Simulator> {
  const port = await freePort()
  const started = startProcess({
    args: [
      ...server_flags,
      '--import',
      join(import.meta.dirname, 'simulator-clock.ts'),
      ...[input.entry, 'start', '--role', 'simulators', '--port', String(port)],
    ],
    cwd: input.repository,
    env: { COFFER_DATA_DIR: input.data_directory },
    log_file: `${input.data_directory}-simulator.log`,
  })
  const url = `http://127.0.0.1:${port}`
  input.onSpawn(started)
  await eventually('the simulator', started, () => answers(`${url}/_sim/ledger`))
  return { started, url }
}

async function eventually(
  what: string,
  started: StartedProcess,
  isSo: () => Promise<boolean>,
): Promise<void> {
  const deadline_ms = performance.now() + START_DEADLINE_MS
  while (!(await isSo())) {
    const ended = started.ended()
    const late =
      performance.now() > deadline_ms ? `is not ready after ${START_DEADLINE_MS / 1_000} s` : undefined
    const problem = ended ?? late
    if (problem !== undefined) throw new Error(`${what} ${problem}; it printed:\n${started.lastLines(20)}`)
    await delay(50)
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url)
    await response.arrayBuffer()
    return response.status === 200
  } catch {
    return false
  }
}
