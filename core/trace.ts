/**
 * Which request a log line belongs to, in whichever of our processes it was written: W3C Trace Context, of which we
 * take the `traceparent` of the caller, or begin one, and pass it on to our own roles and nobody else. Nothing is
 * made before a line is written or a call goes out: most requests do neither.
 *
 * What is done for many requests at once, such as a group commit, belongs to the one that began it.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { isCardNumber } from './card-number-detector.ts'
import { newId } from './ids.ts'

/** A request while it is carried out. `trace` is filled when it is first asked for. */
export type TracedRequest = {
  request_id: string
  /** As it came. */
  traceparent: string | string[] | undefined
  trace?: Trace
}

type Trace = { trace_id: string; flags: string }

const running = new AsyncLocalStorage<TracedRequest>()

export function inRequest<Result>(request: TracedRequest, work: () => Result): Result {
  return running.run(request, work)
}

/** For a log line; empty outside of any request. */
export function requestFields(): { request_id?: string; trace_id?: string } {
  const request = running.getStore()
  if (request === undefined) return {}
  return { request_id: request.request_id, trace_id: traceOf(request).trace_id }
}

/** Of the request being carried out, or a new one. */
export function currentRequestId(): string {
  return running.getStore()?.request_id ?? newId('request')
}

/** For a call to another role; undefined outside of any request. */
export function traceparentToPassOn(): string | undefined {
  const request = running.getStore()
  if (request === undefined) return undefined
  const { trace_id, flags } = traceOf(request)
  return `00-${trace_id}-${randomHex(8)}-${flags}`
}

function traceOf(request: TracedRequest): Trace {
  return (request.trace ??= acceptedTrace(request.traceparent) ?? { trace_id: newTraceId(), flags: '00' })
}

/** Later versions may add to the end; what we know of them is what version 00 has. */
const pattern = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?$/

function acceptedTrace(header: string | string[] | undefined): Trace | undefined {
  const [, version, trace_id, parent, flags, rest] = pattern.exec(String(header)) ?? []
  if (trace_id === undefined || /^0+$/.test(trace_id) || /^0+$/.test(parent!)) return undefined
  if ((version === '00' && rest !== undefined) || holdsCardNumber(trace_id)) return undefined
  // Of the flags only "sampled" has a meaning that we know.
  return { trace_id, flags: (Number.parseInt(flags!, 16) & 1) === 1 ? '01' : '00' }
}

function newTraceId(): string {
  const trace_id = randomHex(16)
  return holdsCardNumber(trace_id) ? newTraceId() : trace_id
}

/** It stands in logs, which hold no card number, not even one between other digits. */
function holdsCardNumber(traceId: string): boolean {
  for (const { 0: digits } of traceId.matchAll(/[0-9]{13,}/g))
    for (let start = 0; start <= digits.length - 13; start++)
      for (let end = start + 13; end <= digits.length; end++)
        if (isCardNumber(digits.slice(start, end))) return true
  return false
}

const randomHex = (bytes: number) => randomBytes(bytes).toString('hex')
