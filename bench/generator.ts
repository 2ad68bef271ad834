import { join } from 'node:path'
import type { LoadJob, LoadResult, LoadState } from './load.ts'
import type { FromLoadProcess, ToLoadProcess } from './load-process.ts'
import { type StartedProcess, startProcess } from './processes.ts'

/** The load generator as the benchmark sees it: one process that does one job at a time. */
export type Generator = {
  started: StartedProcess
  /** Makes cards for the later jobs; returns one answer of the API as a sample. */
  makeCards(input: {
    target: LoadJob['target']
    connections: number
    count: number
    run: string
  }): Promise<string>
  /** Cards that are there already, and from which number on card numbers are new. */
  useCards(state: LoadState): Promise<void>
  load(job: LoadJob, events: GeneratorEvents): Promise<LoadResult>
}

export type GeneratorEvents = {
  onWindowOpen(): void
  onWindowClose(): void
  onProgress(fraction: number): void
}

const NO_EVENTS: GeneratorEvents = { onWindowOpen() {}, onWindowClose() {}, onProgress() {} }

export function startGenerator(): Generator {
  const started = startProcess({
    args: [join(import.meta.dirname, 'load-process.ts')],
    cwd: import.meta.dirname,
  })
  const request = <Kind extends FromLoadProcess['kind']>(
    message: ToLoadProcess,
    wanted: Kind,
    events: GeneratorEvents,
  ): Promise<Extract<FromLoadProcess, { kind: Kind }>> => {
    return new Promise((resolve, reject) => {
      const onExit = () => finish(() => reject(new Error(`the load generator ${started.ended()}`)))
      const finish = (settle: () => void) => {
        started.child.off('message', onMessage)
        started.child.off('exit', onExit)
        settle()
      }
      const onMessage = (received: unknown) => {
        const answer = received as FromLoadProcess
        if (answer.kind === 'window_open') events.onWindowOpen()
        if (answer.kind === 'window_close') events.onWindowClose()
        if (answer.kind === 'progress') events.onProgress(answer.fraction)
        if (answer.kind === 'failed') finish(() => reject(new Error(`the load generator: ${answer.message}`)))
        if (answer.kind === wanted) finish(() => resolve(answer as Extract<FromLoadProcess, { kind: Kind }>))
      }
      started.child.on('message', onMessage)
      started.child.on('exit', onExit)
      started.child.send(message)
    })
  }
  return {
    started,
    async makeCards(input) {
      return (await request({ kind: 'make_cards', ...input }, 'cards_made', NO_EVENTS)).sample
    },
    async useCards(state) {
      await request({ kind: 'use_cards', ...state }, 'cards_known', NO_EVENTS)
    },
    async load(job, events) {
      return (await request({ kind: 'load', job }, 'result', events)).result
    },
  }
}
