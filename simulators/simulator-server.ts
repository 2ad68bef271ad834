/** How every simulated PSP listens, whatever it speaks. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ServiceTimes } from './service-times.ts'

export const serverOptions = {
  bodyLimit: 256 * 1024,
  forceCloseConnections: true,
  /** Longer than a client's pool keeps a connection, so a request never meets one that is just being closed. */
  keepAliveTimeout: 120_000,
  /** For sending a request, not for answering it: a hang is never cut short. */
  requestTimeout: 30_000,
}

export type IdParams = { Params: { id?: string } }

/** A route whose time is counted under its method and path. */
export function serveTimed(
  app: FastifyInstance,
  service_times: ServiceTimes,
  { method, url }: { method: 'GET' | 'POST'; url: string },
  serve: (request: FastifyRequest<IdParams>, reply: FastifyReply) => unknown,
): void {
  app.route<IdParams>({
    method,
    url,
    handler: async (request, reply) => {
      const started_ms = performance.now()
      await serve(request, reply)
      service_times.add(`${method} ${url}`, performance.now() - started_ms)
      return reply
    },
  })
}
