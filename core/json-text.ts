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

/**
 * Gives an answer's JSON text as the response schema of its status allows it, before it is sent: what is stored for
 * a repeated request is what the first one is told.
 */
export function serializerOf<Value extends object>(
  reply: FastifyReply,
  status: 200 | 201 | 202,
): (value: Value) => string {
  return (value) => reply.serializeInput({ ...value } as Record<string, unknown>, String(status)) as string
}
