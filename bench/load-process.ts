import { type LoadJob, type LoadResult, type LoadState, makeCards, runLoad } from './load.ts'

/** The load generator's own process: takes jobs over IPC, one after the other, and answers with results. */
export type ToLoadProcess =
  | { kind: 'make_cards'; target: LoadJob['target']; connections: number; count: number; run: string }
  | ({ kind: 'use_cards' } & LoadState)
  | { kind: 'load'; job: LoadJob }

export type FromLoadProcess =
  | { kind: 'window_open' }
  | { kind: 'window_close' }
  | { kind: 'progress'; fraction: number }
  | { kind: 'cards_made'; sample: string }
  | { kind: 'cards_known' }
  | { kind: 'result'; result: LoadResult }
  | { kind: 'failed'; message: string }

const state: LoadState = { run: '', next_number: 0, cards: [] }

function say(message: FromLoadProcess): void {
  process.send?.(message)
}

async function handle(message: ToLoadProcess): Promise<void> {
  if (message.kind === 'make_cards') {
    state.run = message.run
    say({ kind: 'cards_made', sample: await makeCards(message, message.count, state) })
    return
  }
  if (message.kind === 'use_cards') {
    const { run, next_number, cards } = message
    Object.assign(state, { run, next_number, cards })
    say({ kind: 'cards_known' })
    return
  }
  const result = await runLoad(message.job, state, {
    onWindowOpen: () => say({ kind: 'window_open' }),
    onWindowClose: () => say({ kind: 'window_close' }),
    onProgress: (fraction) => say({ kind: 'progress', fraction }),
  })
  say({ kind: 'result', result })
}

process.on('message', (message: ToLoadProcess) => {
  handle(message).catch((error: Error) => say({ kind: 'failed', message: error.message }))
})
process.on('disconnect', () => process.exit(0))
process.on('SIGTERM', () => process.exit(0))
