/** Who is behind a request, as the audit trail keeps it. */
import type { FastifyRequest } from 'fastify'

export type Caller = {
  merchant_id: string
  actor: string
  key_id: string
  request_id: string
  source_address: string
}

export function callerOf(request: FastifyRequest): Caller {
  const { user } = request
  return {
    merchant_id: user.merchant_id,
    actor: user.actor,
    key_id: user.key_id,
    request_id: request.id,
    source_address: request.ip,
  }
}
