/**
 * What Node refuses by itself, before a route is looked for: without this it would close the connection, or answer
 * with a bare status. Here it becomes a problem like any other.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { Failure, type FailureCode, failures, problemOf } from './errors.ts'
import { newId } from './ids.ts'

const codes: Record<string, FailureCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'request_too_large',
}

const unhurried = new WeakSet<IncomingMessage>()

/**
 * Lets the body of this request arrive for longer than those of others: it is given up where nothing of it comes for
 * so long, or all of it has not after so long. To be ended when it has been read.
 */
export function takeTime(
  request: IncomingMessage,
  { idle_ms, total_ms }: { idle_ms: number; total_ms: number },
): () => void {
  unhurried.add(request)
  const untilMs = performance.now() + total_ms
  let came = request.socket.bytesRead
  // Looked at from outside: who listens to the body begins to read it.
  const looking = setInterval(() => {
    const isIdle = came === request.socket.bytesRead && !request.complete
    came = request.socket.bytesRead
    if (isIdle || performance.now() > untilMs) request.destroy(new Failure('request_timeout'))
  }, idle_ms).unref()
  return () => clearInterval(looking)
}

/** Answers what the parser could not read, as the connection's last. Takes what `clientError` gives. */
export function answerUnparsed(error: NodeJS.ErrnoException, socket: Socket): void {
  const open = openAnswer(socket)
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && open !== undefined && unhurried.has(open.req)) return
  if (open?.req.complete === true || open?.headersSent === true) {
    // The request before it is being carried out: a refusal now would be taken for its answer.
    if (!open.writableEnded) open.once('finish', () => socket.end())
    else socket.end()
    return
  }
  const code = codes[error.code ?? ''] ?? 'malformed_request'
  const problem = problemOf(new Failure(code), newId('request'))
  const body = JSON.stringify(problem)
  if (!socket.writable) return
  socket.end(
    `HTTP/1.1 ${failures[code].status} ${STATUS_CODES[failures[code].status]}\r\n` +
      `request-id: ${problem.request_id}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

/** The answer that the connection is to carry next. Node has no public name for it; its own handler asks so, too. */
function openAnswer(socket: Socket): ServerResponse | undefined {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined
}

/** RFC 9110, 10.1.1: an expectation that nobody knows may be passed over; Node would answer a bare 417. */
export function passOverExpectations(
  server: Server,
  route: (request: IncomingMessage, response: ServerResponse) => void,
): void {
  server.on('checkExpectation', route)
}

/** RFC 9112, 3.2: without a host a request of HTTP/1.1 is malformed. Node would answer a bare 400. */
export function lacksHost(request: IncomingMessage): boolean {
  return request.headers.host === undefined && request.httpVersion !== '1.0'
}
