/** Calls from one of our roles to another, with a service token, never retried: JSON over HTTP, or within the process. */
import { Pool } from 'undici'
import { Failure, type FailureCode, failures } from './errors.ts'
import { findLocalCall } from './local-calls.ts'
import { traceparentToPassOn } from './trace.ts'

export type InternalClient = {
  /**
   * POSTs JSON and gives the JSON answer.
   * @throws Failure with the other side's code; `unavailable` where it refuses this role, which is no fault of
   * the user's, and where there was no answer: then `NoAnswer` tells whether the request provably never left.
   */
  call<Answer>(path: string, body: unknown, options?: CallOptions): Promise<Answer>
  close(): Promise<void>
}

export type CallOptions = {
  /** From when it is sent; a wait for a connection before that is not counted. */
  timeout_ms?: number
  /** Gives it up, also while it waits for a connection. */
  signal?: AbortSignal
}

/** The call got no answer. `sent: false` is proof; `sent: true` means it may have been carried out. */
export class NoAnswer extends Error {
  readonly sent: boolean
  constructor(sent: boolean, cause: unknown) {
    super(sent ? 'there was no answer' : 'the request was not sent', { cause })
    this.name = 'NoAnswer'
    this.sent = sent
  }
}

const neverSent = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'])

/**
 * True only for errors that happen before the first byte of a request leaves. A host or network may become
 * unreachable in the middle of a connection too: that counts only where connecting itself failed.
 */
export function isNeverSent(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isNeverSent)
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown }
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH') return syscall === 'connect'
  return typeof code === 'string' && neverSent.has(code)
}

export function createInternalClient(options: {
  url: string
  token(): Promise<string>
  connections_max: number
}): InternalClient {
  const pool = new Pool(options.url, {
    connections: options.connections_max,
    pipelining: 1,
    connectTimeout: 2_000,
  })

  async function send(
    path: string,
    body: unknown,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<{ status: number; text: string }> {
    const authorization = `Bearer ${await options.token()}`
    const traceparent = traceparentToPassOn()
    try {
      const response = await pool.request({
        path,
        method: 'POST',
        headers: {
          authorization,
          'content-type': 'application/json',
          ...(traceparent === undefined ? {} : { traceparent }),
        },
        body: JSON.stringify(body),
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        ...(signal === undefined ? {} : { signal }),
      })
      return { status: response.statusCode, text: await response.body.text() }
    } catch (error) {
      throw new Failure('unavailable', { cause: new NoAnswer(!isNeverSent(error), error) })
    }
  }

  const { origin } = new URL(options.url)

  async function callLocally(call: NonNullable<ReturnType<typeof findLocalCall>>, body: unknown) {
    const token = await options.token()
    try {
      return await call(token, body)
    } catch (error) {
      throw (error instanceof Failure && refusalOf(error.code)) || error
    }
  }

  return {
    async call<Answer>(path: string, body: unknown, { timeout_ms = 10_000, signal }: CallOptions = {}) {
      const local = findLocalCall(origin, path)
      if (local !== undefined) return (await inTime(callLocally(local, body), timeout_ms, signal)) as Answer
      const sending = send(path, body, timeout_ms, signal)
      // The pool heeds a signal only once it has a connection.
      const { status, text } = await (signal === undefined
        ? sending
        : Promise.race([sending, givenUp(signal)]))
      if (status >= 200 && status < 300) return JSON.parse(text) as Answer
      throw failureOf(text)
    },
    close: () => pool.close(),
  }
}

async function inTime(
  answering: Promise<unknown>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  const late = Promise.withResolvers<never>()
  const tooLate = () =>
    late.reject(new Failure('unavailable', { cause: new NoAnswer(true, 'it took too long') }))
  const timer = setTimeout(tooLate, timeoutMs)
  try {
    const gaveUp = signal === undefined ? [] : [givenUp(signal)]
    return await Promise.race([answering, late.promise, ...gaveUp])
  } finally {
    clearTimeout(timer)
  }
}

/** Another role does not let this one in, which is no fault of the user's. */
function refusalOf(code: string | undefined): Failure | undefined {
  if (code !== 'unauthenticated' && code !== 'forbidden') return undefined
  return new Failure('unavailable', { cause: new Error(`another role refuses this one: ${code}`) })
}

function givenUp(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const giveUp = () => reject(new Failure('unavailable', { cause: new NoAnswer(true, signal.reason) }))
    if (signal.aborted) giveUp()
    else signal.addEventListener('abort', giveUp, { once: true })
  })
}

function failureOf(text: string): Failure {
  try {
    const problem = JSON.parse(text) as { code?: string; detail?: string; param?: string }
    const refusal = refusalOf(problem.code)
    if (refusal !== undefined) return refusal
    if (problem.code !== undefined && problem.code in failures)
      return new Failure(problem.code as FailureCode, {
        ...(problem.detail === undefined ? {} : { detail: problem.detail }),
        ...(problem.param === undefined ? {} : { param: problem.param }),
      })
  } catch {
    // Not one of our own answers: reported as unavailable below.
  }
  return new Failure('unavailable')
}
