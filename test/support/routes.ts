/**
 * Every public route that wants a key, as its zone declares it: read from the route files themselves with nothing behind them, so a
 * new route is attacked as soon as its file exists.
 */
import { globSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createServer, mount, type Routes, type Scope } from '@coffer/core/http-server.ts'
import { quietLog } from './postgres.ts'

/** The part of JSON Schema that our schemas are made of. */
export type Schema = {
  type?: string
  const?: unknown
  enum?: unknown[]
  anyOf?: Schema[]
  properties?: Record<string, Schema>
  patternProperties?: Record<string, Schema>
  additionalProperties?: boolean | Schema
  required?: string[]
  minProperties?: number
  maxProperties?: number
  items?: Schema
  minItems?: number
  maxItems?: number
  uniqueItems?: boolean
  pattern?: string
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
}

export type PublicRoute = {
  method: string
  url: string
  scope: Scope
  params: Schema | undefined
  query: Schema | undefined
  body: Schema | undefined
  headers: Schema | undefined
}

export const nameOf = (route: PublicRoute) => `${route.method} ${route.url}`

/** Fields that can hold any text, and so an id. */
export function textFields(schema: Schema | undefined): string[] {
  const isText = (each: Schema) => each.type === 'string' && !('const' in each) && each.enum === undefined
  return Object.entries(schema?.properties ?? {})
    .filter(([, each]) => (each.anyOf ?? [each]).some(isText))
    .map(([name]) => name)
}

const root = resolve(import.meta.dirname, '..', '..')
const zones = '{access,vault,platform}'

/** A body that is a file is none that can be made from a schema. */
const jsonOnly = (body: Schema | undefined) => (body !== undefined && 'content' in body ? undefined : body)

export async function publicRoutesOf(): Promise<PublicRoute[]> {
  const found: PublicRoute[] = []
  const server = createServer(quietLog, { body_bytes_max: 1, request_timeout_ms: 1_000 })
  server.addHook('onRoute', ({ method, url, schema, config }) => {
    if (method === 'HEAD') return
    const access = config!.access!
    // Where PSPs send their notices no key helps: test/psp-webhooks.test.ts tries it.
    if (!('scope' in access)) return
    found.push({
      method: String(method),
      url,
      scope: access.scope,
      params: schema?.params as Schema | undefined,
      query: schema?.querystring as Schema | undefined,
      body: jsonOnly(schema?.body as Schema | undefined),
      headers: schema?.headers as Schema | undefined,
    })
  })
  const stranger = () => {
    throw new Error('nobody calls this server')
  }
  for (const file of globSync(`${zones}/**/*routes.ts`, { cwd: root }).sort()) {
    const module = (await import(pathToFileURL(resolve(root, file)).href)) as RouteFile
    if (module.publicRoutes === undefined) continue
    await mount(server, module.publicRoutes(nothing), { user: stranger, service: stranger })
  }
  await server.close()
  return found
}

type RouteFile = { publicRoutes?: (...behind: unknown[]) => Routes }

/** Stands where the routes' own dependencies would: it can be taken apart, and is never called. */
const nothing: object = new Proxy(() => nothing, { get: () => nothing })
