import { connect, type Socket } from 'node:net'

/**
 * An HTTP/1.1 keep-alive client that does as little as a load generator can: a request is one string
 * written in one piece, and of an answer only the status and the length are read. It shares the cores with
 * what it measures.
 */

/** Where a finished response lies in the received bytes; `body_start`…`end` is its body. */
export type OnResponse = (status: number, data: Buffer, body_start: number, end: number) => void

const NOTHING = Buffer.alloc(0)
const LINE_FEED = 10
const CARRIAGE_RETURN = 13
const CONTENT_LENGTH = Buffer.from('content-length:')
const TRANSFER_ENCODING = Buffer.from('transfer-encoding:')

/**
 * Returns a function to feed with received bytes; it calls `onResponse` for each finished response. The
 * bytes are only valid during that call: the receive buffer is used again. Chunked answers are refused with
 * an exception.
 */
export function createResponseParser(onResponse: OnResponse): (chunk: Buffer) => void {
  let held: Buffer = NOTHING
  return (chunk) => {
    const data = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    let start = 0
    while (start < data.length) {
      const body_start = headEnd(data, start)
      if (body_start === -1) break
      const end = body_start + contentLength(data, start, body_start)
      if (end > data.length) break
      onResponse(statusOf(data, start), data, body_start, end)
      start = end
    }
    held = start === data.length ? NOTHING : Buffer.from(data.subarray(start))
  }
}

/** The index after the empty line that ends the head, or -1 while it has not arrived. */
function headEnd(data: Buffer, start: number): number {
  for (let at = data.indexOf(LINE_FEED, start); at !== -1; at = data.indexOf(LINE_FEED, at + 1)) {
    if (data[at + 1] === LINE_FEED) return at + 2
    if (data[at + 1] === CARRIAGE_RETURN && data[at + 2] === LINE_FEED) return at + 3
  }
  return -1
}

function statusOf(data: Buffer, start: number): number {
  // 'HTTP/1.1 201 Created': the three digits at 9.
  const status = (data[start + 9]! - 48) * 100 + (data[start + 10]! - 48) * 10 + (data[start + 11]! - 48)
  if (!(status >= 200 && status <= 599)) throw new Error(`not an HTTP/1.1 status: ${status}`)
  return status
}

function contentLength(data: Buffer, start: number, body_start: number): number {
  for (let at = data.indexOf(LINE_FEED, start) + 1; at > 0 && at < body_start; ) {
    if (startsWith(data, at, CONTENT_LENGTH)) return digitsAt(data, at + CONTENT_LENGTH.length)
    if (startsWith(data, at, TRANSFER_ENCODING))
      throw new Error('a chunked answer, which this client does not read')
    at = data.indexOf(LINE_FEED, at) + 1
  }
  return 0
}

function startsWith(data: Buffer, at: number, lowercase: Buffer): boolean {
  for (let i = 0; i < lowercase.length; i += 1) {
    // Setting bit 5 makes an ASCII letter lower case and leaves '-' and ':' as they are.
    if ((data[at + i]! | 0x20) !== lowercase[i]) return false
  }
  return true
}

function digitsAt(data: Buffer, at: number): number {
  let value = 0
  for (let i = at; ; i += 1) {
    const byte = data[i]!
    if (byte >= 48 && byte <= 57) value = value * 10 + (byte - 48)
    else if (byte !== 32) return value
  }
}

/** One keep-alive connection with at most one request under way. */
export type Connection = {
  send(request: string): void
  close(): void
}

type ConnectionInput = {
  host: string
  port: number
  receive_buffer: Buffer
  onResponse: OnResponse
  /** The connection is open (again) and idle. */
  onReady: () => void
  /** The connection broke, perhaps with a request under way; `onReady` follows after a reconnect. */
  onBroken: (reason: string) => void
}

const RECONNECT_DELAY_MS = 50

/** Opens a connection and keeps it open: after a break it connects again until closed. */
export function openConnection(input: ConnectionInput): Connection {
  let socket: Socket | undefined
  let closed = false
  let reason = 'connection closed'
  const open = () => {
    if (closed) return
    const parse = createResponseParser(input.onResponse)
    const opened = connect({
      host: input.host,
      port: input.port,
      noDelay: true,
      onread: {
        buffer: input.receive_buffer,
        callback(length, buffer) {
          try {
            parse((buffer as Buffer).subarray(0, length))
          } catch (error) {
            reason = (error as Error).message
            opened.destroy()
          }
          return true
        },
      },
    })
    socket = opened
    opened.on('connect', input.onReady)
    opened.on('error', (error) => {
      reason = error.message
    })
    opened.on('close', () => {
      if (closed) return
      input.onBroken(reason)
      setTimeout(open, RECONNECT_DELAY_MS)
    })
  }
  open()
  return {
    send(request) {
      socket?.write(request, 'latin1')
    },
    close() {
      closed = true
      socket?.destroy()
    },
  }
}
