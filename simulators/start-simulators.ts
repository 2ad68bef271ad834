/**
 * The simulators role: stand-ins for the world outside, each speaking its real wire protocol. A simulated PSP is a
 * folder here with a `start-<psp>.ts`, and adding one edits nothing else.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Log } from '@coffer/core/log.ts'
import type { SandboxAccount, Simulator, SimulatorConfig } from './simulator.ts'

export type { SandboxAccount }

/** A PSP that can be simulated: what its `start-<psp>.ts` exports. */
export type SimulatedPsp = {
  psp: string
  sandbox: SandboxAccount
  start(config: SimulatorConfig, log?: Log): Promise<Simulator>
}

/** The port is that of the first one, 0 takes any; the others take any. A free port of the last start comes first. */
export type SimulatorsConfig = SimulatorConfig

export type RunningSimulator = { psp: string; name: string; url: string }
/** In the order of `findSimulators`. */
export type Simulators = { running: RunningSimulator[]; stop(): Promise<void> }

/** For the next start, and for tools: `{psp: url}`. */
const addressesFile = 'addresses.json'

/** Those that have a folder, the one that a sandbox connects first in front, then by name. */
export async function findSimulators(directory: string = import.meta.dirname): Promise<SimulatedPsp[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  const found: SimulatedPsp[] = []
  for (const psp of entries.map(({ name }) => name).sort()) {
    const file = join(directory, psp, `start-${psp}.ts`)
    if (existsSync(file)) found.push({ psp, ...(await import(pathToFileURL(file).href)) })
  }
  return found.sort((a, b) => Number(b.sandbox.is_first) - Number(a.sandbox.is_first))
}

/** Resolves once all are ready and know again what they knew before. */
export async function start(config: SimulatorsConfig, log?: Log): Promise<Simulators> {
  const psps = await findSimulators()
  await mkdir(config.data_directory, { recursive: true, mode: 0o700 })
  const file = join(config.data_directory, addressesFile)
  const last = await readAddresses(file)
  const starts = psps.map(({ psp, start: startOne }, index) => {
    if (index === 0 && config.port !== 0) return startOne(config, log)
    return startAgain((port) => startOne({ ...config, port }, log), last[psp])
  })
  const started = (await Promise.allSettled(starts)).flatMap((each) =>
    each.status === 'fulfilled' ? [each.value] : [],
  )
  const stop = async () => void (await Promise.all(started.map((each) => each.stop())))
  try {
    const simulators = await Promise.all(starts)
    const running = psps.map(({ psp, sandbox }, index) => ({
      ...{ psp, name: sandbox.name, url: simulators[index]!.url },
    }))
    const addresses = Object.fromEntries(running.map(({ psp, url }) => [psp, url]))
    await writeFile(file, `${JSON.stringify(addresses, null, 2)}\n`, { mode: 0o600 })
    for (const { psp, url } of running) log?.info({ psp, url }, 'the simulator is ready')
    return { running, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** On the port of the last start where it is free, so that connections made to it go on working. */
async function startAgain(startAt: (port: number) => Promise<Simulator>, last_url: string | undefined) {
  const last_port = last_url === undefined ? 0 : Number(new URL(last_url).port)
  try {
    return await startAt(last_port)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || last_port === 0) throw error
    return startAt(0)
  }
}

async function readAddresses(file: string): Promise<Record<string, string>> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    // A crash while it was written leaves a part of it: the ports are a convenience.
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw error
  }
}
