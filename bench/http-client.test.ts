import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createResponseParser } from './http-client.ts'

type Answer = { status: number; body: string }

function parse(chunks: Buffer[]): Answer[] {
  const answers: Answer[] = []
  const feed = createResponseParser((status, data, body_start, end) => {
    answers.push({ status, body: data.toString('utf8', body_start, end) })
  })
  for (const chunk of chunks) feed(chunk)
  return answers
}

test('responses are read the same however the network cuts them into pieces', () => {
  const status = fc.integer({ min: 200, max: 599 })
  const body = fc.string({ unit: 'grapheme', maxLength: 60 })
  const answer = fc.tuple(status, body).map(([status, body]): Answer => ({ status, body }))
  const name = fc.constantFrom('content-length', 'Content-Length', 'CONTENT-LENGTH')
  const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 })
  fc.assert(
    fc.property(fc.array(answer, { maxLength: 5 }), name, cuts, (answers, length_name, sizes) => {
      const texts = answers.map(({ status, body }) => {
        const length = `${length_name}: ${Buffer.byteLength(body)}`
        return `HTTP/1.1 ${status} Some Reason\r\ndate: now\r\n${length}\r\nx: y\r\n\r\n${body}`
      })
      const bytes = Buffer.from(texts.join(''))
      const pieces: Buffer[] = []
      for (let at = 0, i = 0; at < bytes.length; i += 1) {
        const size = sizes[i % sizes.length]!
        pieces.push(bytes.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(parse(pieces), answers)
    }),
  )
})

test('a held back piece survives the receive buffer being used again', () => {
  const buffer = Buffer.alloc(64)
  const answers: string[] = []
  const feed = createResponseParser((_status, data, body_start, end) =>
    answers.push(data.toString('utf8', body_start, end)),
  )
  for (const piece of ['HTTP/1.1 200 OK\r\ncontent-le', 'ngth: 4\r\n\r\nab', 'cd']) {
    buffer.fill(0)
    feed(buffer.subarray(0, buffer.write(piece)))
  }
  assert.deepEqual(answers, ['abcd'])
})

test('an answer without a length has no body', () => {
  assert.deepEqual(parse([Buffer.from('HTTP/1.1 204 No Content\r\nx: y\r\n\r\n')]), [
    { status: 204, body: '' },
  ])
})

test('a chunked answer and one that is not HTTP are refused, not misread', () => {
  assert.throws(
    () => parse([Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')]),
    /chunked/,
  )
  assert.throws(
    () => parse([Buffer.from('+OK POP3 server ready, at your service\r\n\r\n')]),
    /not an HTTP\/1.1 status/,
  )
})
