/** `/openapi.json` and `/docs`: the contract for programs and for people. Both are open to all. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Server } from '@coffer/core/http-server.ts'
import { Type } from 'typebox'
import type { OpenApi } from './openapi.ts'
import { originMark, referencePage } from './page.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')

export async function referenceRoutes(server: Server): Promise<void> {
  const document = read('../../docs/openapi.json')
  const style = read('page.css')
  let page: string | undefined
  const styleHash = createHash('sha256').update(style).digest('base64')
  const open = { access: { open: true }, failures: [] } as const
  const schema = { hide: true, response: { 200: Type.String() } }
  const asItIs = (text: unknown) => text as string

  server.get('/openapi.json', { config: open, schema }, async (_request, reply) => {
    reply.headers({ ...safeHeaders, 'content-type': 'application/json; charset=utf-8' }).serializer(asItIs)
    return document
  })

  server.get('/docs', { config: open, schema }, async (request, reply) => {
    page ??= referencePage(JSON.parse(document) as OpenApi, style)
    reply
      .headers({
        ...safeHeaders,
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy': `${policy}; style-src 'sha256-${styleHash}'`,
      })
      .serializer(asItIs)
    return page.replace(originMark, originOf(request.protocol, request.host))
  })
}

const policy =
  "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const safeHeaders = {
  'cache-control': 'no-cache',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

/** The host is what the client says it is: only what can be a host gets onto the page. */
function originOf(protocol: string, host: string): string {
  return /^[a-z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9a-f:]+\](:[0-9]{1,5})?$/i.test(host)
    ? `${protocol}://${host}`
    : 'http://127.0.0.1:8420'
}
