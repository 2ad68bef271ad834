/**
 * The signature that CyberSource wants: an HMAC with a shared secret over named headers, one of them a digest of the
 * body. As in its guide "Getting Started with the REST API", HTTP signature authentication.
 */
import { createHash, createHmac } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { FilledRequest } from '../marks.ts'
import { type FinishingContext, type FinishingScheme, withHeaders } from './step.ts'

const headerText = (maxLength: number, description: string) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[\\x21\\x23-\\x5b\\x5d-\\x7e]+$', description })

const parameters = Type.Object(
  {
    merchant_id: headerText(100, 'Yours at CyberSource; goes into v-c-merchant-id.'),
    key_id: headerText(100, 'Names the shared secret.'),
  },
  { additionalProperties: false },
)
type Parameters = Static<typeof parameters>

export const cybersourceHttpSignature: FinishingScheme<Parameters> = {
  parameters,
  secret: 'The shared secret in base64, as CyberSource gives it.',
  problemOf(_parameters, secret) {
    const isBase64 = /^[A-Za-z0-9+/]{16,500}={0,2}$/.test(secret)
    return isBase64 ? undefined : { field: 'secret', detail: 'It is not base64.' }
  },
  finish(request, { merchant_id, key_id }, secret, context) {
    const signed = signedHeaders(request, merchant_id, context)
    const names = Object.keys(signed).join(' ')
    const signature = signatureOf(signed, secret)
    const { host: _set_by_the_sender, 'request-target': _no_header, ...own } = signed
    const header = `keyid="${key_id}", algorithm="HmacSHA256", headers="${names}", signature="${signature}"`
    return { ...request, headers: withHeaders(request.headers, { ...own, signature: header }) }
  },
}

/** In the order in which they are signed. Without a body there is no digest. */
function signedHeaders(
  request: FilledRequest,
  merchantId: string,
  { origin, now }: FinishingContext,
): Record<string, string> {
  return {
    host: new URL(origin).host,
    'v-c-date': now.toUTCString(),
    'request-target': `${request.method.toLowerCase()} ${request.path}`,
    ...(request.body === null ? {} : { digest: digestOf(request.body) }),
    'v-c-merchant-id': merchantId,
  }
}

export function digestOf(body: string): string {
  return `SHA-256=${createHash('sha256').update(body).digest('base64')}`
}

export function signatureOf(signed: Record<string, string>, secret: string): string {
  const text = Object.entries(signed).map(([name, value]) => `${name}: ${value}`)
  return createHmac('sha256', Buffer.from(secret, 'base64')).update(text.join('\n')).digest('base64')
}
