/**
 * One exchange with a destination: one pool for each, so that no connection and no TLS session serves two; no
 * redirects, bounded in time and size. What is told of an exchange that failed is whether its first byte had left.
 */
import { Pool } from 'undici'
import { clearBytes } from '../clear-bytes.ts'
import { guardedLookup } from '../destination.ts'
import type { OpenDestination } from '../destinations/destinations.ts'
import type { FilledRequest } from '../marks.ts'

export type Answer = {
  status: number
  headers: Record<string, string | string[] | undefined>
  /** Undefined where it was larger than is taken. */
  body: Buffer | undefined
}

/** `sent: false` is proof. */
export type Exchanged = { kind: 'answered'; answer: Answer } | { kind: 'unanswered'; sent: boolean }

export type Exchange = {
  /** Never throws. */
  send(destination: OpenDestination, request: FilledRequest, timeoutMs: number): Promise<Exchanged>
  close(): Promise<void>
}

const connectionsPerDestinationMax = 64
const poolsMax = 1_000
export const answerBytesMax = 1024 * 1024
const connectTimeoutMs = 3_000

type Lookup = ReturnType<typeof guardedLookup>

/** @param lookup of names; a test may give one that changes its mind. */
export function createExchange(options: { allowLoopback: boolean; lookup?: Lookup }): Exchange {
  const pools = new Map<string, Pool>()
  const lookup = options.lookup ?? guardedLookup(options.allowLoopback)

  function poolOf({ destination_id, origin, client }: OpenDestination): Pool {
    const known = pools.get(destination_id)
    if (known !== undefined) return known
    for (const [oldest, pool] of pools) {
      if (pools.size < poolsMax) break
      pools.delete(oldest)
      // It ends what it has begun.
      void pool.close()
    }
    const pool = new Pool(origin, {
      connections: connectionsPerDestinationMax,
      pipelining: 1,
      allowH2: false,
      connect: {
        lookup,
        timeout: connectTimeoutMs,
        ...(client === undefined ? {} : { cert: client.certificate, key: client.private_key.expose() }),
      },
    })
    pools.set(destination_id, pool)
    return pool
  }

  return {
    send: (destination, request, timeoutMs) => exchange(poolOf(destination), request, timeoutMs),
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.close()))
    },
  }
}

function exchange(pool: Pool, request: FilledRequest, timeoutMs: number): Promise<Exchanged> {
  return new Promise((resolve) => {
    let isOver = false
    let isSent = false
    let status = 0
    let headers: Answer['headers'] = {}
    let chunks: Buffer[] = []
    let size = 0
    let abort = () => {}
    const end = (exchanged: Exchanged) => {
      isOver = true
      clearTimeout(timer)
      resolve(exchanged)
      abort()
    }
    const answered = (body: Buffer | undefined) =>
      end({ kind: 'answered', answer: { status, headers, body } })
    const unanswered = () => end({ kind: 'unanswered', sent: isSent })
    const timer = setTimeout(unanswered, timeoutMs)
    const clear = request.body === null ? null : clearBytes(request.body)
    pool.dispatch(
      { ...request, body: clear },
      {
        /** A connection is there, checked and, where it is TLS, agreed on: from here on bytes leave. */
        onRequestStart(controller) {
          abort = () => controller.abort(new Error('the exchange is over'))
          // Given up while it waited; or begun a second time, which would be a second request.
          if (isOver || isSent) return abort()
          isSent = true
        },
        onResponseStart(_controller, statusCode, received) {
          if (statusCode < 200) return
          status = statusCode
          headers = received
        },
        onResponseData(_controller, chunk) {
          size += chunk.length
          chunks.push(chunk)
          if (size <= answerBytesMax || isOver) return
          chunks = []
          answered(undefined)
        },
        onResponseEnd() {
          abort = () => {}
          clear?.fill(0)
          answered(Buffer.concat(chunks))
        },
        onResponseError: unanswered,
      },
    )
  })
}
