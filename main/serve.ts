/** Starts roles and listens for them: one public listener, one internal, whatever roles this process has. */

import { setTimeout as delay } from 'node:timers/promises'
import { networks, readConfig } from '@coffer/core/config.ts'
import { Failure } from '@coffer/core/errors.ts'
import { armFailpoint } from '@coffer/core/failpoint.ts'
import { createServer, mount, nobody, type Server } from '@coffer/core/http-server.ts'
import { serveLocally } from '@coffer/core/local-calls.ts'
import type { Log } from '@coffer/core/log.ts'
import { registry } from '@coffer/core/metrics.ts'
import { createRateLimits, rateLimitSettings } from '@coffer/core/rate-limits.ts'
import type { Role } from '@coffer/core/role.ts'
import { Type } from 'typebox'
import { referenceRoutes } from './contract/reference.ts'
import { type RoleName, roles } from './roles.ts'

export type Listeners = {
  host: string
  /** 0 takes any free port. */
  port: number
  internal_host: string
  internal_port: number
  /** For health and metrics alone; without it they are beside the public routes. */
  admin?: { host: string; port: number }
  /** How long a stop still takes new requests, so that balancers see that it is not ready. */
  drain_ms: number
}

export type Serving = {
  url: string
  internal_url: string
  admin_url: string
  /** Not ready, drain, stop in reverse order. Accepted requests are answered. */
  stop(): Promise<void>
}

/** A process that is not told its mode takes itself for live: nothing is let through by leaving it out. */
export function modeOf(environment: Record<string, string | undefined>): 'sandbox' | 'live' {
  return environment['COFFER_MODE'] === 'sandbox' ? 'sandbox' : 'live'
}

/** What the public listener is set to, whichever roles are behind it. */
export const publicSettings = (mode: 'sandbox' | 'live') => ({
  ...rateLimitSettings(mode),
  TRUSTED_PROXIES: networks('addresses or networks of proxies whose X-Forwarded-For is believed'),
})

const publicBodyBytesMax = 64 * 1024
const internalBodyBytesMax = 4 * 1024 * 1024
const requestTimeoutMs = 30_000

export async function serve(
  names: readonly RoleName[],
  environment: Record<string, string | undefined>,
  listeners: Listeners,
  log: Log,
): Promise<Serving> {
  if (environment['COFFER_FAILPOINT'] !== undefined && modeOf(environment) !== 'sandbox')
    throw new Error('COFFER_FAILPOINT is for the sandbox only')
  armFailpoint(environment['COFFER_FAILPOINT'])
  const mode = modeOf(environment)
  const config = readConfig(publicSettings(mode), environment)
  const limits = createRateLimits(config)
  const started: Role[] = []
  const state = { stopping: false }
  try {
    for (const name of names) {
      const { start } = await roles[name]()
      started.push(await start(environment, log.child({ role: name })))
    }
    const common = {
      request_timeout_ms: requestTimeoutMs,
      // A sandbox is where routes are tried out, and what every test of the whole product runs on.
      undeclared_failures: mode === 'sandbox' ? 'refuse' : 'log',
    } as const
    const internal = createServer(log, { ...common, body_bytes_max: internalBodyBytesMax })
    const open = createServer(log, {
      ...common,
      body_bytes_max: publicBodyBytesMax,
      trusted_proxies: config.TRUSTED_PROXIES,
    })
    const admin =
      listeners.admin === undefined
        ? undefined
        : createServer(log, { ...common, body_bytes_max: publicBodyBytesMax })
    for (const role of started) {
      await mount(internal, role.internalRoutes, role.tokenCheck)
      await mount(open, role.publicRoutes, role.tokenCheck, limits, role.noteRefused)
    }
    // Beside the platform, so that a separate vault serves cards and nothing else.
    if (names.includes('platform')) await mount(open, referenceRoutes, nobody, limits)
    await mount(admin ?? open, healthRoutes(started, state), nobody)
    const internalUrl = await internal.listen({
      host: listeners.internal_host,
      port: listeners.internal_port,
    })
    const endings = started.map((role) => serveLocally(new URL(internalUrl).origin, role))
    const url = await open.listen({ host: listeners.host, port: listeners.port })
    const adminUrl = admin === undefined ? url : await admin.listen(listeners.admin!)
    return {
      url,
      internal_url: internalUrl,
      admin_url: adminUrl,
      async stop() {
        state.stopping = true
        await delay(listeners.drain_ms)
        await open.close()
        // Work that was accepted goes on for a moment behind its answer, and needs the internal routes for it.
        await started.pop()!.stop()
        for (const end of endings) end()
        await internal.close()
        await stopAll(started)
        await admin?.close()
      },
    }
  } catch (error) {
    await stopAll(started)
    throw error
  }
}

async function stopAll(started: Role[]): Promise<void> {
  for (const role of started.reverse()) await role.stop()
}

const health = Type.Object({ status: Type.String() })
/** `warnings`: what an operator must know of though requests are served. */
const readyHealth = Type.Object({ status: Type.String(), warnings: Type.Array(Type.String()) })

function healthRoutes(started: readonly Role[], state: { stopping: boolean }) {
  return async (server: Server) => {
    const open = { access: { open: true }, failures: [] } as const
    const readiness = {
      access: { open: true },
      failures: ['overloaded', 'unavailable', 'vault_sealed', 'keys_unavailable'],
    } as const
    server.get('/healthz', { config: open, schema: { hide: true, response: { 200: health } } }, async () => ({
      status: 'ok',
    }))
    server.get(
      '/readyz',
      { config: readiness, schema: { hide: true, response: { 200: readyHealth } } },
      async () => {
        if (state.stopping) throw new Failure('unavailable', { detail: 'Stopping.' })
        for (const role of started) await role.ready()
        return { status: 'ready', warnings: started.flatMap((role) => role.warnings()) }
      },
    )
    server.get(
      '/metrics',
      { config: open, schema: { hide: true, response: { 200: Type.String() } } },
      async (_request, reply) => {
        reply.header('content-type', registry.contentType).serializer((text: unknown) => text as string)
        return registry.metrics()
      },
    )
  }
}
