import type { FastifyReply } from 'fastify'
import type { StoredAnswer } from './idempotency.ts'

const asItIs = (payload: unknown) => payload as string

/** Sends text that is JSON already, byte for byte: an answer that is replayed must equal the first one. */
export function sendJsonText(reply: FastifyReply, answer: StoredAnswer): FastifyReply {
  return reply
    .code(answer.status)
    .header('content-type', 'application/json; charset=utf-8')
    .serializer(asItIs)
    .send(answer.body)
}
