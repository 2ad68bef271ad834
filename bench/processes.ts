import { type ChildProcess, type Serializable, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'

/**
 * A process the benchmark started: it leads a process group of its own, so that a Ctrl-C here does not
 * reach it first.
 */
export type StartedProcess = {
  pid: number
  child: ChildProcess
  /** Asks it to end (SIGTERM), and kills its whole group when it has not ended within the deadline. */
  stop(deadline_ms?: number): Promise<void>
  /** Undefined while it runs, else how it ended, in words. */
  ended(): string | undefined
  /** The last lines it printed; empty when its output goes to the terminal. */
  lastLines(count: number): string
}

/** A little more than the server gives itself to drain. */
const STOP_DEADLINE_MS = 35_000

type ProcessInput = {
  args: string[]
  cwd: string
  env?: Record<string, string>
  /** Both output streams go to this file; without it they go where ours go. */
  log_file?: string
}

/**
 * Starts the Node that runs us on `args`. The child gets an IPC channel: when the benchmark dies without a
 * word, the channel closes, and that is what tells the child to stop.
 */
export function startProcess(input: ProcessInput): StartedProcess {
  const log = input.log_file === undefined ? undefined : openSync(input.log_file, 'a')
  const output = log ?? 'inherit'
  const child = spawn(process.execPath, input.args, {
    cwd: input.cwd,
    env: { ...process.env, NODE_OPTIONS: '', ...input.env },
    detached: true,
    serialization: 'advanced',
    stdio: ['ignore', output, output, 'ipc'],
  })
  if (log !== undefined) closeSync(log)
  let ended: string | undefined
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      ended = signal === null ? `ended with code ${code}` : `was ended by ${signal}`
      resolve()
    })
    child.once('error', (error) => {
      ended = `could not start: ${error.message}`
      resolve()
    })
  })
  return {
    pid: child.pid ?? -1,
    child,
    ended: () => ended,
    lastLines: (count) => (input.log_file === undefined ? '' : lastLinesOf(input.log_file, count)),
    async stop(deadline_ms = STOP_DEADLINE_MS) {
      if (ended !== undefined || child.pid === undefined) return
      child.kill('SIGTERM')
      const timer = setTimeout(() => killGroup(child.pid!), deadline_ms)
      await exited
      clearTimeout(timer)
    },
  }
}

/** Sends a message to a child and waits for the first message back that `pick` accepts. */
export function ask<T>(
  started: StartedProcess,
  message: Serializable,
  pick: (message: unknown) => T | undefined,
) {
  return new Promise<T>((resolve, reject) => {
    const { child } = started
    const onMessage = (received: unknown) => {
      const picked = pick(received)
      if (picked === undefined) return
      detach()
      resolve(picked)
    }
    const onExit = () => {
      detach()
      reject(new Error(`the process asked ${started.ended() ?? 'has ended'}`))
    }
    const detach = () => {
      child.off('message', onMessage)
      child.off('exit', onExit)
    }
    child.on('message', onMessage)
    child.on('exit', onExit)
    if (started.ended() !== undefined) onExit()
    else child.send(message)
  })
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // The group ended between the deadline and the kill.
  }
}

function lastLinesOf(file: string, count: number): string {
  const text = readFileSync(file, 'utf8').trimEnd()
  return text === '' ? '(nothing)' : text.split('\n').slice(-count).join('\n')
}
