import { type ArrivalRate, createDraw, createQueue, startArrivals } from './arrivals.ts'
import { createSamples, type Samples, type Summary } from './percentiles.ts'
import { openPool, type Pool, type Slot, type Waiting } from './pool.ts'
import {
  createRequestWriter,
  type LoadTarget,
  type RequestInput,
  type Scenario,
  type ScenarioName,
  scenarios,
} from './scenarios.ts'

/**
 * The load itself. Closed loop: every connection sends its next request when the answer to the last has
 * come, which finds the throughput. Open loop: requests arrive at a fixed mean rate whether or not answers
 * come, with exponentially distributed gaps (as from independent users), and a latency counts from the
 * moment of arrival: a server that stands still for a second is charged for all that arrived in it.
 */
export type LoadJob = {
  target: LoadTarget
  /** One scenario, or several mixed by weight. */
  scenarios: { name: ScenarioName; weight: number }[]
  connections: number
  pace: { kind: 'closed' } | ({ kind: 'open' } & ArrivalRate)
  warm_up_ms: number
  window_ms: number
}

export type LoadPart = {
  scenario: ScenarioName
  /** Requests that arrived (open loop) or were answered (closed loop) in the window, errors included. */
  requests: number
  /** Right answers only. */
  requests_per_second: number
  latency_ms: Summary
  errors: number
  /** Distinct kinds of error with one example each. */
  error_kinds: { what: string; count: number; example: string }[]
  /** Attempt and latency of each payment of an open loop, to set against the simulator's own times. */
  attempts: [attempt: string, latency_ms: number][]
}

export type LoadResult = {
  parts: LoadPart[]
  window_ms: number
  /** Answers that came within the window: what the processor time of the window was spent on. */
  answers_in_window: number
  /** All answers of the job, those of the warm-up too. */
  answers: number
  /** How late the generator itself was in noticing an arrival; part of the latencies above. */
  generator_lag_ms: Summary
  /** Most arrivals ever waiting for a free connection. */
  waiting_max: number
}

export type LoadEvents = {
  onWindowOpen(): void
  onWindowClose(): void
  /** How far the window is, from 0 to 1, about once a second. */
  onProgress(fraction: number): void
}

/**
 * What outlives a job: request numbers never repeat within a run, and cards are those made at its
 * beginning.
 */
export type LoadState = { run: string; next_number: number; cards: string[] }

type Window = { open_ms: number; close_ms: number }
type Flow = {
  onIdle(pool: Pool, slot: Slot): void
  /** Begins once the pool is there. */
  start(pool: Pool): void
  stop(): void
  /** Arrivals no connection was free for yet. */
  queued(): Waiting[]
  lag: Samples
  waiting_max(): number
}

const DRAIN_MS = 10_000

/** Runs one job to its end. Rejects when no connection could be opened until the window opens. */
export async function runLoad(job: LoadJob, state: LoadState, events: LoadEvents): Promise<LoadResult> {
  const open_ms = performance.now() + job.warm_up_ms
  const window: Window = { open_ms, close_ms: open_ms + job.window_ms }
  const write = createRequestWriter(job.target)
  const draw = createDraw(job.scenarios)
  const nextRequest = (since_ms: number): Waiting => {
    const scenario = scenarios[draw().name]
    return { scenario, request: write(scenario, nextInput(state)), since_ms }
  }
  const tally = createTally(job, window)
  const { pace } = job
  const flow = pace.kind === 'closed' ? closedLoop(window, nextRequest) : openLoop(pace, nextRequest)
  const { target, connections } = job
  const pool = openPool({ target, connections, onAnswer: tally.record, onIdle: flow.onIdle })
  flow.start(pool)
  try {
    await until(window.open_ms)
    if (pool.opened() === 0) throw new Error(`no connection to ${target.host}:${target.port}`)
    events.onWindowOpen()
    await tellProgress(window, events.onProgress)
    events.onWindowClose()
    flow.stop()
    await drained(pool, flow)
    for (const waiting of [...pool.unanswered(), ...flow.queued()]) tally.recordUnanswered(waiting)
  } finally {
    flow.stop()
    pool.close()
  }
  const lag = flow.lag.summary()
  return { ...tally.result(), generator_lag_ms: lag, waiting_max: flow.waiting_max() }
}

/**
 * Makes `count` cards and keeps their ids for the scenarios that need one. Returns one answer as a sample.
 */
export async function makeCards(
  input: Pick<LoadJob, 'target' | 'connections'>,
  count: number,
  state: LoadState,
): Promise<string> {
  const write = createRequestWriter(input.target)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let left_to_send = count
  const pool = openPool({
    ...input,
    onIdle(pool, slot) {
      if (left_to_send === 0) return
      left_to_send -= 1
      const request = write(scenarios.tokenize, nextInput(state))
      pool.send(slot, { scenario: scenarios.tokenize, request, since_ms: 0 })
    },
    onAnswer(_waiting, error, body) {
      if (error !== undefined) return reject(new Error(`making cards: ${error} ${body()}`))
      state.cards.push(JSON.parse(body()).id)
      if (state.cards.length >= count) resolve(body())
    },
  })
  try {
    return await promise
  } finally {
    pool.close()
  }
}

function nextInput(state: LoadState): RequestInput {
  const number = state.next_number
  state.next_number += 1
  return { number, run: state.run, card: state.cards[number % state.cards.length] ?? '' }
}

function closedLoop(window: Window, nextRequest: (since_ms: number) => Waiting): Flow {
  return {
    onIdle(pool, slot) {
      const now = performance.now()
      if (now < window.close_ms) pool.send(slot, nextRequest(now))
    },
    start() {},
    stop() {},
    queued: () => [],
    lag: createSamples(),
    waiting_max: () => 0,
  }
}

function openLoop(rate: ArrivalRate, nextRequest: (since_ms: number) => Waiting): Flow {
  const queue = createQueue<Waiting>()
  const lag = createSamples()
  let waiting_max = 0
  // Runs once: stopping tells the arrivals of the last moment.
  let stop = () => {}
  return {
    onIdle(pool, slot) {
      const next = queue.shift()
      if (next === undefined) pool.idle.push(slot)
      else pool.send(slot, next)
    },
    start(pool) {
      stop = startArrivals(rate, (due_ms) => {
        lag.add(performance.now() - due_ms)
        const waiting = nextRequest(due_ms)
        const slot = pool.idle.pop()
        if (slot !== undefined) return pool.send(slot, waiting)
        queue.push(waiting)
        waiting_max = Math.max(waiting_max, queue.length())
      })
    },
    stop() {
      stop()
      stop = () => {}
    },
    queued: () => queue.rest(),
    lag,
    waiting_max: () => waiting_max,
  }
}

/**
 * What arrived and has no answer yet still counts, so it gets some time: the wait is what an open loop
 * measures.
 */
async function drained(pool: Pool, flow: Flow): Promise<void> {
  const give_up_ms = performance.now() + DRAIN_MS
  const isBusy = () => pool.unanswered().length > 0 || flow.queued().length > 0
  while (isBusy() && performance.now() < give_up_ms) await until(performance.now() + 10)
}

type Count = {
  scenario: Scenario
  requests: number
  latencies: Samples
  errors: Map<string, { count: number; example: string }>
  attempts: [string, number][]
}

const ATTEMPT = /"(att_[0-9A-Za-z_-]+)"/

/** Counts answers, by scenario, and only what belongs to the window. */
function createTally(job: LoadJob, window: Window) {
  const counts = new Map<Scenario, Count>()
  for (const { name } of job.scenarios) {
    const scenario = scenarios[name]
    counts.set(scenario, {
      scenario,
      requests: 0,
      latencies: createSamples(),
      errors: new Map(),
      attempts: [],
    })
  }
  const closed_loop = job.pace.kind === 'closed'
  let answers = 0
  let answers_in_window = 0
  const isWithin = (moment_ms: number) => moment_ms >= window.open_ms && moment_ms < window.close_ms
  return {
    record(waiting: Waiting, error: string | undefined, body: () => string): void {
      const now = performance.now()
      answers += 1
      if (isWithin(now)) answers_in_window += 1
      if (!isWithin(closed_loop ? now : waiting.since_ms)) return
      const count = counts.get(waiting.scenario)!
      count.requests += 1
      if (error !== undefined) {
        countError(count, error, body())
        return
      }
      const latency_ms = now - waiting.since_ms
      count.latencies.add(latency_ms)
      if (closed_loop || waiting.scenario.name !== 'payment') return
      const attempt = ATTEMPT.exec(body())
      if (attempt !== null) count.attempts.push([attempt[1]!, latency_ms])
    },
    recordUnanswered(waiting: Waiting): void {
      if (!isWithin(waiting.since_ms)) return
      const count = counts.get(waiting.scenario)!
      count.requests += 1
      countError(count, `no answer within ${DRAIN_MS / 1_000} s after the end`, '')
    },
    result() {
      const parts = [...counts.values()].map((count) => partOf(count, job.window_ms))
      return { parts, window_ms: job.window_ms, answers_in_window, answers }
    },
  }
}

function countError(count: Count, what: string, example: string): void {
  const known = count.errors.get(what)
  if (known === undefined) count.errors.set(what, { count: 1, example: example.slice(0, 500) })
  else known.count += 1
}

function partOf(count: Count, window_ms: number): LoadPart {
  const error_kinds = [...count.errors].map(([what, kind]) => ({ what, ...kind }))
  return {
    scenario: count.scenario.name,
    requests: count.requests,
    requests_per_second: count.latencies.count() / (window_ms / 1_000),
    latency_ms: count.latencies.summary(),
    errors: error_kinds.reduce((sum, kind) => sum + kind.count, 0),
    error_kinds,
    attempts: count.attempts,
  }
}

function until(moment_ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, moment_ms - performance.now())))
}

async function tellProgress(window: Window, onProgress: (fraction: number) => void): Promise<void> {
  for (let now = performance.now(); now < window.close_ms; now = performance.now()) {
    onProgress((now - window.open_ms) / (window.close_ms - window.open_ms))
    await until(Math.min(now + 1_000, window.close_ms))
  }
}
