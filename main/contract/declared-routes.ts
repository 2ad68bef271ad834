/** The public routes of all zones as they declare themselves, without a database or anything else started. */
import type { FailureCode } from '@coffer/core/errors.ts'
import { createServer, mount, nobody, type RouteAccess } from '@coffer/core/http-server.ts'
import type { Log } from '@coffer/core/log.ts'
import { failuresOf } from '@coffer/core/route-failures.ts'
import { roleNames, roles } from '../roles.ts'

export type JsonSchema = { [keyword: string]: unknown }

export type DeclaredRoute = {
  method: string
  /** As the router has it: `/v1/cards/:id`. */
  url: string
  access: RouteAccess
  failures: FailureCode[]
  schema: RouteSchema
}

/** What a route's schema may say beside what Fastify reads. */
export type RouteSchema = {
  summary?: string
  description?: string
  /** Where the name that follows from method and path would not be a good one. */
  operationId?: string
  /** Leaves the route out of the contract. */
  hide?: boolean
  params?: JsonSchema
  querystring?: JsonSchema
  headers?: JsonSchema
  body?: JsonSchema
  response: Record<string, JsonSchema>
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent }

export async function declaredRoutes(): Promise<DeclaredRoute[]> {
  const server = createServer(silent, { body_bytes_max: 1_024, request_timeout_ms: 1_000 })
  const found: DeclaredRoute[] = []
  server.addHook('onRoute', (route) => {
    const schema = plain(route.schema) as RouteSchema
    for (const method of [route.method].flat())
      if (method !== 'HEAD' && schema.hide !== true)
        found.push({
          method,
          url: route.url,
          access: route.config!.access!,
          failures: failuresOf(route),
          schema,
        })
  })
  for (const name of roleNames) await mount(server, (await roles[name]()).declaredRoutes(), nobody)
  await server.close()
  return found
}

/** Only what JSON holds: a schema carries marks of its library too. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}
