/**
 * Group commit: writes that arrive while others are being committed share the next transaction, so a commit's
 * cost is paid once a batch and not once a request.
 *
 * One bad row never fails its neighbours: a batch that fails for a definite reason is halved until the row
 * that caused it stands alone. A batch whose commit was sent and never answered fails as a whole, because
 * sending it again could write it twice.
 */
import { Failure, failures } from './errors.ts'
import { gauge, histogram } from './metrics.ts'
import { CommitUnknown, isTransient } from './postgres.ts'

export type GroupCommit<Entry, Result> = {
  /** Resolves when the entry's transaction is committed. @throws Failure overloaded, where the queue is full. */
  add(entry: Entry): Promise<Result>
  /** Resolves when everything accepted so far has ended. */
  drain(): Promise<void>
}

type Waiting<Entry, Result> = { entry: Entry; resolve(result: Result): void; reject(error: unknown): void }

const queueLength = gauge('coffer_group_commit_queue_length', 'Entries waiting for their batch.', ['group'])
const batchSizes = histogram(
  'coffer_group_commit_batch_size',
  'Entries in a batch.',
  ['group'],
  [1, 2, 4, 8, 16, 32, 64, 128, 256],
)

export function createGroupCommit<Entry, Result>(options: {
  name: string
  /** Writes a batch in one transaction and gives each entry's result, in order. */
  write(entries: Entry[]): Promise<Result[]>
  batch_max: number
  /** 1 makes the largest batches and the fewest commits; reads may well have more under way. */
  in_flight_max: number
  queue_max: number
  /** For writes nobody waits for: how long to gather before a batch is written. */
  gather_ms?: number
}): GroupCommit<Entry, Result> {
  const queue: Waiting<Entry, Result>[] = []
  const idle: (() => void)[] = []
  const sizes = batchSizes.labels(options.name)
  let inFlight = 0
  let scheduled = false

  async function run(batch: Waiting<Entry, Result>[], tries: number): Promise<void> {
    try {
      const results = await options.write(batch.map((waiting) => waiting.entry))
      if (results.length !== batch.length) throw new CommitUnknown(`${options.name}: a result is missing`)
      for (let index = 0; index < batch.length; index++) batch[index]!.resolve(results[index]!)
    } catch (error) {
      if (error instanceof CommitUnknown)
        return rejectAll(batch, new Failure('outcome_unknown', { cause: error }))
      if (isTransient(error) && tries < 3) return run(batch, tries + 1)
      // No row's fault: halving would wait for the missing database once a row.
      if (error instanceof Failure && failures[error.code].status === 503) return rejectAll(batch, error)
      if (batch.length === 1) return batch[0]!.reject(error)
      const half = batch.length >> 1
      await run(batch.slice(0, half), tries)
      await run(batch.slice(half), tries)
    }
  }

  function rejectAll(batch: Waiting<Entry, Result>[], failure: Failure) {
    for (const waiting of batch) waiting.reject(failure)
  }

  /** The rest of this turn of the event loop may bring more: take them along. */
  function schedule() {
    if (scheduled || queue.length === 0 || inFlight >= options.in_flight_max) return
    scheduled = true
    if (options.gather_ms === undefined) setImmediate(flush)
    else setTimeout(flush, options.gather_ms)
  }

  function flush() {
    scheduled = false
    while (queue.length > 0 && inFlight < options.in_flight_max) {
      const batch = queue.splice(0, options.batch_max)
      inFlight++
      sizes.observe(batch.length)
      run(batch, 0).finally(() => {
        inFlight--
        if (options.gather_ms === undefined) flush()
        else schedule()
        if (inFlight === 0 && queue.length === 0) for (const resolve of idle.splice(0)) resolve()
      })
    }
    queueLength.set({ group: options.name }, queue.length)
  }

  return {
    add(entry) {
      if (queue.length >= options.queue_max) return Promise.reject(new Failure('overloaded'))
      return new Promise((resolve, reject) => {
        queue.push({ entry, resolve, reject })
        schedule()
      })
    },
    drain() {
      if (inFlight === 0 && queue.length === 0) return Promise.resolve()
      return new Promise((resolve) => idle.push(resolve))
    },
  }
}

/**
 * Completes the results of a committed batch: entries without one lost a race against a batch that committed
 * beside it, and are asked for again.
 * @throws CommitUnknown where that fails: the others are committed, so none of the batch may be written again as
 * if it were not.
 */
export async function completeRaced<Entry, Result>(
  entries: readonly Entry[],
  results: readonly (Result | undefined)[],
  askAgain: (raced: Entry[]) => Promise<Result[]>,
): Promise<Result[]> {
  const raced = entries.filter((_entry, index) => results[index] === undefined)
  const again =
    raced.length === 0
      ? []
      : await askAgain(raced).catch((error: unknown) => {
          throw new CommitUnknown(error)
        })
  return results.map((result) => result ?? again.shift()!)
}
