import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'

/**
 * Loaded into the simulator's process ahead of the simulator (`--import`): times each request there, from its
 * head being parsed to the answer being handed to the kernel, and adds it to the payment attempt named by
 * its Idempotency-Key. What a request waits before the simulator sees it is left with the product's own time.
 */
export type SimulatorTimes = {
  requests: number
  request_ms_total: number
  /** Requests whose Idempotency-Key named no attempt. */
  requests_unnamed: number
  attempts: [attempt: string, ms: number][]
}
export type ToSimulatorClock = { kind: 'simulator_clock_reset' } | { kind: 'simulator_clock_read' }
export type FromSimulatorClock = { kind: 'simulator_times'; times: SimulatorTimes }

const ATTEMPT = /att_[0-9A-Za-z_-]+/
const started_ms = new WeakMap<IncomingMessage, number>()
let attempts = new Map<string, number>()
let requests = 0
let request_ms_total = 0
let requests_unnamed = 0

subscribe('http.server.request.start', (message) => {
  started_ms.set((message as { request: IncomingMessage }).request, performance.now())
})

subscribe('http.server.response.finish', (message) => {
  const { request } = message as { request: IncomingMessage }
  const started = started_ms.get(request)
  if (started === undefined) return
  const took_ms = performance.now() - started
  requests += 1
  request_ms_total += took_ms
  const attempt = ATTEMPT.exec(String(request.headers['idempotency-key'] ?? ''))?.[0]
  if (attempt === undefined) requests_unnamed += 1
  else attempts.set(attempt, (attempts.get(attempt) ?? 0) + took_ms)
})

process.on('message', (message: Partial<ToSimulatorClock>) => {
  if (message.kind === 'simulator_clock_reset') {
    attempts = new Map()
    requests = 0
    request_ms_total = 0
    requests_unnamed = 0
  }
  if (message.kind === 'simulator_clock_read') {
    const times: SimulatorTimes = { requests, request_ms_total, requests_unnamed, attempts: [...attempts] }
    process.send?.({ kind: 'simulator_times', times } satisfies FromSimulatorClock)
  }
})
