/** What a simulated key service can be told to do wrong, under `/_sim/faults` as the PSPs' simulators have it. */
import type { FastifyInstance, FastifyReply } from 'fastify'

/** Each service has its own words for the last two. */
const kinds = ['slow', 'hang', 'reset', 'server_error', 'throttled', 'denied'] as const
export type KeyFaultKind = (typeof kinds)[number]
type Fault = { kind: KeyFaultKind; times: number | null; delay_ms: number }

export type KeyFaults = {
  /** How many calls came in, those that met a fault included. */
  calls: number
  /** Waits or ends the connection where that is the fault; gives what the service itself has to answer. */
  meet(reply: FastifyReply): Promise<'server_error' | 'throttled' | 'denied' | 'silent' | undefined>
}

export function serveKeyFaults(app: FastifyInstance): KeyFaults {
  let fault: Fault | undefined
  const faults: KeyFaults = {
    calls: 0,
    async meet(reply) {
      faults.calls++
      if (fault === undefined || fault.times === 0) return undefined
      if (fault.times !== null) fault.times--
      const { kind, delay_ms } = fault
      if (kind === 'slow') {
        await new Promise((resolve) => setTimeout(resolve, delay_ms))
        return undefined
      }
      if (kind !== 'hang' && kind !== 'reset') return kind
      reply.hijack()
      if (kind === 'reset') reply.raw.destroy()
      return 'silent'
    },
  }
  app.get('/_sim/faults', () => ({ fault: fault ?? null, calls: faults.calls }))
  app.delete('/_sim/faults', () => {
    fault = undefined
    return {}
  })
  app.put('/_sim/faults', (request, reply) => {
    const { kind, times = null, delay_ms = 1_000 } = (request.body ?? {}) as Partial<Fault>
    const isCount = times === null || (Number.isInteger(times) && times >= 0)
    if (!kinds.some((one) => one === kind) || !isCount || typeof delay_ms !== 'number')
      return reply.code(400).send({ error: { message: `{"kind", "times", "delay_ms"}`, kinds } })
    fault = { kind: kind!, times, delay_ms }
    return fault
  })
  return faults
}
