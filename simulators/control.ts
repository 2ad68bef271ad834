/**
 * The control endpoints every simulator has, under `/_sim`. They are for tests and people, so they explain
 * themselves.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { type DeclineCodes, FaultInputError, type Faults, faultKinds, parseFaults } from './faults.ts'
import type { ServiceTimes } from './service-times.ts'
import type { Settings } from './settings.ts'
import type { Webhooks } from './webhooks.ts'

/** One attempt to charge that the PSP executed. */
export type LedgerRow = {
  id: string
  /** What the PSP calls the payment. */
  psp_reference: string
  /** The platform's own id of the attempt, as far as it sent one. */
  reference: string | null
  /** Minor units. */
  amount: number
  /** ISO 4217, upper case. */
  currency: string
  status: 'succeeded' | 'authorized' | 'declined' | 'canceled' | 'refunded'
  idempotency_key: string | null
  amount_captured: number
  amount_refunded: number
  /** Money that went back, oldest first; `reference` is the platform's own id of the refund. */
  refunds: { id: string; reference: string | null; amount: number; idempotency_key: string | null }[]
  created_at: string
}

export type ControlParts = {
  faults: Faults
  settings: Settings
  decline_codes: DeclineCodes
  service_times: ServiceTimes
  webhooks: Webhooks
  clockMoved(): void
  /** Resolves when what the rows show is durable. */
  ledger(): Promise<LedgerRow[]>
  reset(): Promise<void>
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const settable = {
  search_lag_ms: { least: 0, most: 86_400_000 },
  idempotency_key_ttl_ms: { least: 0, most: 31 * 86_400_000 },
  clock_offset_ms: { least: -10 * 366 * 86_400_000, most: 10 * 366 * 86_400_000 },
} as const

function readSettings(body: Record<string, unknown>): Partial<Settings> {
  const settings: Partial<Settings> = {}
  for (const [name, { least, most }] of Object.entries(settable)) {
    const value = body[name]
    if (value === undefined) continue
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
      throw new FaultInputError(`${name}: a whole number from ${least} to ${most} is expected`)
    }
    settings[name as keyof Settings] = value
  }
  return settings
}

/** Faults and settings together; what is not named stays. Nothing changes where a part of it is wrong. */
function putFaults(parts: ControlParts, body: unknown) {
  const record = isRecord(body) ? body : {}
  const settings = readSettings(record)
  const rest = Object.fromEntries(Object.entries(record).filter(([name]) => !Object.hasOwn(settable, name)))
  const given = isRecord(body) ? rest : body
  const onlySettings = isRecord(given) && Object.keys(given).length === 0
  if (onlySettings && Object.keys(settings).length === 0) {
    throw new FaultInputError(
      'expected {"faults": [{"kind": "hang_after", "times": 1}]}, one such fault, or a setting',
    )
  }
  const stray = isRecord(given) && 'faults' in given && Object.keys(given).find((name) => name !== 'faults')
  if (stray) throw new FaultInputError(`unknown property '${stray}' beside 'faults'`)
  const faults = onlySettings ? null : parseFaults(given, parts.decline_codes)
  Object.assign(parts.settings, settings)
  if (faults) parts.faults.replace(faults)
  parts.clockMoved()
}

const shown = ({ faults, settings }: ControlParts) => ({ faults: faults.list(), ...settings })

function refuse(reply: FastifyReply, message: string) {
  return reply.code(400).send({ error: { message, kinds: faultKinds } })
}

async function answering(reply: FastifyReply, answer: () => unknown) {
  try {
    return reply.send(await answer())
  } catch (error) {
    if (error instanceof FaultInputError) return refuse(reply, error.message)
    throw error
  }
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new FaultInputError('the body is not JSON')
  }
}

/**
 * Registers the endpoints on a scope of their own, in which any content type is read as JSON (curl sends
 * none).
 */
export function registerControl(app: FastifyInstance, parts: ControlParts) {
  app.register(async (control) => {
    control.removeAllContentTypeParsers()
    control.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
    const bodyOf = (body: unknown) => parseBody(typeof body === 'string' ? body : '')

    control.get<{ Querystring: { reference?: string } }>('/_sim/ledger', (request, reply) =>
      answering(reply, async () => {
        const rows = await parts.ledger()
        const { reference } = request.query
        return { data: reference === undefined ? rows : rows.filter((row) => row.reference === reference) }
      }),
    )
    control.get('/_sim/faults', (_request, reply) => reply.send(shown(parts)))
    control.put('/_sim/faults', (request, reply) =>
      answering(reply, () => {
        putFaults(parts, bodyOf(request.body))
        return shown(parts)
      }),
    )
    // Beside those that are there, which stay as far as they have come.
    control.post('/_sim/faults', (request, reply) =>
      answering(reply, () => {
        const added = parseFaults(bodyOf(request.body), parts.decline_codes)
        parts.faults.replace([...parts.faults.list().filter(({ remaining }) => remaining !== 0), ...added])
        return shown(parts)
      }),
    )
    control.delete('/_sim/faults', (_request, reply) => {
      parts.faults.replace([])
      return reply.send(shown(parts))
    })
    control.put('/_sim/clock', (request, reply) =>
      answering(reply, () => {
        const body = bodyOf(request.body)
        if (!isRecord(body) || body.offset_ms === undefined)
          throw new FaultInputError('expected {"offset_ms": 90000000}')
        Object.assign(parts.settings, readSettings({ clock_offset_ms: body.offset_ms }))
        parts.clockMoved()
        const now = new Date(Date.now() + parts.settings.clock_offset_ms).toISOString()
        return { offset_ms: parts.settings.clock_offset_ms, now }
      }),
    )
    control.get('/_sim/webhooks', (_request, reply) => reply.send(parts.webhooks.settings()))
    control.put('/_sim/webhooks', (request, reply) =>
      answering(reply, async () => {
        await parts.webhooks.put(bodyOf(request.body))
        return parts.webhooks.settings()
      }),
    )
    control.post('/_sim/reset', (_request, reply) =>
      answering(reply, async () => {
        await parts.reset()
        return { reset: true }
      }),
    )
    control.get('/_sim/stats', (_request, reply) => {
      const { user, system } = process.cpuUsage()
      const memory_rss_bytes = process.memoryUsage.rss()
      return reply.send({
        service_times: parts.service_times.report(),
        cpu_us: user + system,
        memory_rss_bytes,
      })
    })
    control.delete('/_sim/stats', (_request, reply) => {
      parts.service_times.clear()
      return reply.send({})
    })
  })
}
