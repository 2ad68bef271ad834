/** Sends a filled request: one pool a destination, no redirects, bounded in time and size. */
import type { HttpResponse } from '@coffer/core/connector.ts'
import { isNeverSent } from '@coffer/core/internal-client.ts'
import { Pool } from 'undici'
import { clearBytes } from './clear-bytes.ts'
import { guardedLookup } from './destination.ts'
import type { FilledRequest } from './marks.ts'

export type Sent =
  | { outcome: 'answered'; response: HttpResponse }
  | { outcome: 'not_sent'; reason: string; code?: 'cvc_unavailable' | 'psp_unavailable' | 'card_changed' }
  | { outcome: 'unanswered'; reason: string }

export type Sender = {
  /** Never throws: what went wrong decides between `not_sent` (provably) and `unanswered`. */
  send(origin: string, request: FilledRequest, timeoutMs: number): Promise<Sent>
  close(): Promise<void>
}

const connectionsPerDestinationMax = 128
const destinationsMax = 1_000
const answerBytesMax = 1024 * 1024
const connectTimeoutMs = 3_000
const passedHeaders = new Set(['content-type', 'retry-after', 'idempotent-replayed', 'stripe-should-retry'])
/** What a PSP calls the request, such as `Cko-Request-Id`: that it is there shows whose answer it is. */
const isPassed = (name: string) => passedHeaders.has(name) || name.endsWith('request-id')

export function createSender(options: { allowLoopback: boolean }): Sender {
  const pools = new Map<string, Pool>()

  function poolOf(origin: string): Pool {
    const known = pools.get(origin)
    if (known !== undefined) return known
    if (pools.size >= destinationsMax) throw new Error('too many destinations')
    const pool = new Pool(origin, {
      connections: connectionsPerDestinationMax,
      pipelining: 1,
      maxResponseSize: answerBytesMax,
      connect: { lookup: guardedLookup(options.allowLoopback), timeout: connectTimeoutMs },
    })
    pools.set(origin, pool)
    return pool
  }

  return {
    async send(origin, request, timeoutMs) {
      // Not AbortSignal.timeout: its timer would hold on to request and answer until the time is over.
      const deadline = new AbortController()
      const timer = setTimeout(() => deadline.abort(), timeoutMs)
      const clear = request.body === null ? null : clearBytes(request.body)
      try {
        const { statusCode, headers, body } = await poolOf(origin).request({
          method: request.method,
          path: request.path,
          headers: request.headers,
          body: clear,
          signal: deadline.signal,
        })
        const text = await body.text()
        clear?.fill(0)
        const response = { status: statusCode, headers: passed(headers), body: text }
        return { outcome: 'answered', response }
      } catch (error) {
        return isNeverSent(error)
          ? {
              outcome: 'not_sent',
              reason: 'the destination could not be reached',
              code: 'psp_unavailable',
            }
          : { outcome: 'unanswered', reason: 'the destination gave no complete answer' }
      } finally {
        clearTimeout(timer)
      }
    },
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.close()))
    },
  }
}

function passed(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers))
    if (typeof value === 'string' && isPassed(name)) kept[name] = value
  return kept
}
