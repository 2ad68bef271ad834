/**
 * The authorization that Mastercard's APIs want: OAuth 1.0a (RFC 5849) with an RSA signature over SHA-256 and a hash of
 * the body, which draft-eaton-oauth-bodyhash adds. Where the RFC would encode the values of OAuth's own parameters,
 * Mastercard's signers leave them as they are, and so does this.
 */
import { createHash, createPrivateKey, createSign, type KeyObject } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { FilledRequest } from '../marks.ts'
import { type FinishingContext, type FinishingScheme, withHeaders } from './step.ts'

const parameters = Type.Object(
  {
    consumer_key: Type.String({
      minLength: 1,
      maxLength: 200,
      pattern: '^[A-Za-z0-9!_.~-]+$',
      description: "Your project's, from Mastercard's developer portal.",
    }),
  },
  { additionalProperties: false },
)
type Parameters = Static<typeof parameters>

export const mastercardOauth1: FinishingScheme<Parameters> = {
  parameters,
  secret: 'The signing key: an RSA private key in PEM, not encrypted.',
  problemOf(_parameters, secret) {
    const isRsa = rsaKey(secret) !== undefined
    return isRsa
      ? undefined
      : { field: 'secret', detail: 'It is not an RSA private key in PEM of 2,048 bits.' }
  },
  finish(request, { consumer_key }, secret, context) {
    const oauth = oauthParameters(request.body, consumer_key, context)
    const text = signatureBase(request, oauth, context.origin)
    const signature = createSign('RSA-SHA256').update(text).sign(rsaKey(secret)!, 'base64')
    const header = Object.entries({ ...oauth, oauth_signature: percentEncoded(signature) })
    const authorization = `OAuth ${header.map(([name, value]) => `${name}="${value}"`).join(',')}`
    return { ...request, headers: withHeaders(request.headers, { authorization }) }
  },
}

function rsaKey(pem: string): KeyObject | undefined {
  try {
    const key = createPrivateKey(pem)
    const isGood = key.asymmetricKeyType === 'rsa' && key.asymmetricKeyDetails!.modulusLength! >= 2048
    return isGood ? key : undefined
  } catch {
    return undefined
  }
}

/** In the order of the alphabet. Without a body there is no hash. */
export function oauthParameters(
  body: string | null,
  consumerKey: string,
  { nonce, now }: Pick<FinishingContext, 'nonce' | 'now'>,
): Record<string, string> {
  return {
    ...(body === null ? {} : { oauth_body_hash: createHash('sha256').update(body).digest('base64') }),
    oauth_consumer_key: consumerKey,
    oauth_nonce: nonce,
    oauth_signature_method: 'RSA-SHA256',
    oauth_timestamp: String(Math.floor(now.getTime() / 1_000)),
    oauth_version: '1.0',
  }
}

/** What is signed: method, address without its query, and all parameters in order (RFC 5849, 3.4.1). */
export function signatureBase(
  request: Pick<FilledRequest, 'method' | 'path'>,
  oauth: Record<string, string>,
  origin: string,
): string {
  const { origin: base, pathname, searchParams } = new URL(origin + request.path)
  const asked = [...searchParams].map(
    ([name, value]) => [percentEncoded(name), percentEncoded(value)] as const,
  )
  const all = [...asked, ...Object.entries(oauth)].sort(byNameAndValue)
  const text = all.map(([name, value]) => `${name}=${value}`).join('&')
  return [request.method, base + pathname, text].map(percentEncoded).join('&')
}

type Pair = readonly [name: string, value: string]

function byNameAndValue([leftName, left]: Pair, [rightName, right]: Pair): number {
  const [first, second] = leftName === rightName ? [left, right] : [leftName, rightName]
  return first < second ? -1 : first > second ? 1 : 0
}

/** RFC 3986: all but letters, digits, "-", ".", "_" and "~". */
function percentEncoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
