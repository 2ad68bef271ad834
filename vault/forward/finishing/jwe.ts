/**
 * Encrypts the JSON body, or one value in it, for whoever has the private key: a JWE in compact form (RFC 7516), with
 * a content key of its own for each request. Mastercard wants one value encrypted, Visa's message-level encryption the
 * whole body.
 */
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { FinishingError, type FinishingScheme, type Problem, withHeaders } from './step.ts'

const path = (description: string) =>
  Type.String({ maxLength: 200, pattern: '^[A-Za-z0-9_-]+(?:\\.[A-Za-z0-9_-]+){0,9}$', description })

const parameters = Type.Object(
  {
    public_key: Type.String({
      maxLength: 10_000,
      pattern:
        '^-----BEGIN (?:PUBLIC KEY|CERTIFICATE)-----[A-Za-z0-9+/=\\r\\n]+-----END [A-Z ]+-----[\\r\\n]*$',
      description: "The recipient's RSA key or certificate, in PEM.",
    }),
    key_id: Type.String({
      minLength: 1,
      maxLength: 200,
      pattern: '^[\\x21-\\x7e]+$',
      description: "The recipient's name for that key.",
    }),
    from: Type.Optional(path('Where the value is in the body: names parted by dots. Left out: all of it.')),
    to: path('Where its encryption is put instead.'),
    encryption: Type.Optional(Type.Union([Type.Literal('A256GCM'), Type.Literal('A128GCM')])),
    issued_at: Type.Optional(
      Type.Boolean({ description: 'Whether the time is told in the header, as Visa wants it.' }),
    ),
    key_id_header: Type.Optional(
      Type.String({
        maxLength: 50,
        pattern: '^[A-Za-z][A-Za-z0-9-]*$',
        description: 'An HTTP header that tells the key id, too.',
      }),
    ),
  },
  { additionalProperties: false },
)
type Parameters = Static<typeof parameters>
type JsonObject = Record<string, unknown>

export const jwe: FinishingScheme<Parameters> = {
  parameters,
  secret: null,
  problemOf({ public_key, from, to }): Problem | undefined {
    if (rsaKey(public_key) === undefined)
      return { field: 'parameters.public_key', detail: 'It is not an RSA key of 2,048 bits.' }
    const isPut = from === undefined || !`${to}.`.startsWith(`${from}.`)
    return isPut ? undefined : { field: 'parameters.to', detail: 'It is within what is encrypted.' }
  },
  async finish(request, { public_key, key_id, from, to, ...options }, _secret, { now }) {
    const body = jsonObjectOf(request.body)
    const clear = from === undefined ? body : takenOut(body, from.split('.'))
    const encrypted = await encrypt(JSON.stringify(clear), rsaKey(public_key)!, {
      kid: key_id,
      cty: 'application/json',
      enc: options.encryption ?? 'A256GCM',
      ...(options.issued_at ? { iat: now.getTime() } : {}),
    })
    const around = from === undefined ? {} : body
    putAt(around, to.split('.'), encrypted)
    const header = options.key_id_header?.toLowerCase()
    const headers =
      header === undefined ? request.headers : withHeaders(request.headers, { [header]: key_id })
    return { ...request, headers, body: JSON.stringify(around) }
  },
}

async function encrypt(text: string, key: KeyObject, header: { enc: string } & JsonObject): Promise<string> {
  // Loaded where it is first needed: most vaults encrypt no request.
  const { CompactEncrypt } = await import('jose')
  return new CompactEncrypt(Buffer.from(text))
    .setProtectedHeader({ alg: 'RSA-OAEP-256', ...header })
    .encrypt(key)
}

function rsaKey(pem: string): KeyObject | undefined {
  try {
    const key = pem.includes('CERTIFICATE') ? new X509Certificate(pem).publicKey : createPublicKey(pem)
    const isGood = key.asymmetricKeyType === 'rsa' && key.asymmetricKeyDetails!.modulusLength! >= 2048
    return isGood ? key : undefined
  } catch {
    return undefined
  }
}

/** Part of the language, and not yet of its types: a number as it was written. */
const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(text: string): unknown
  isRawJSON(value: unknown): boolean
}

/** Numbers stay as they were written, however long: an amount must not change on its way. */
function jsonObjectOf(body: string | null): JsonObject {
  const keepNumber = (_name: string, value: unknown, { source }: { source: string }) =>
    typeof value === 'number' ? rawJSON(source) : value
  try {
    const value: unknown = JSON.parse(body ?? '', keepNumber as never)
    if (isObject(value)) return value
  } catch {
    // Not JSON: said below.
  }
  throw new FinishingError('the body is not a JSON object')
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawJSON(value)

/** @throws FinishingError where nothing is there: what should have been encrypted may be somewhere else in the clear. */
function takenOut(body: JsonObject, names: string[]): unknown {
  const holder = names.slice(0, -1).reduce<unknown>((inner, name) => memberOf(inner, name), body)
  const value = memberOf(holder, names.at(-1)!)
  if (value === undefined) throw new FinishingError('the value to encrypt is not in the body')
  delete (holder as JsonObject)[names.at(-1)!]
  return value
}

const memberOf = (holder: unknown, name: string) =>
  isObject(holder) && Object.hasOwn(holder, name) ? holder[name] : undefined

/** Objects on the way are made where there are none. @throws FinishingError where something else is in the way. */
function putAt(body: JsonObject, names: string[], value: string): void {
  let holder = body
  for (const name of names.slice(0, -1)) {
    const inner = memberOf(holder, name) ?? {}
    if (!isObject(inner)) throw new FinishingError('something is where the encryption is to be put')
    define(holder, name, inner)
    holder = inner
  }
  if (memberOf(holder, names.at(-1)!) !== undefined)
    throw new FinishingError('something is where the encryption is to be put')
  define(holder, names.at(-1)!, value)
}

/** A plain assignment to `__proto__` would make no member. */
function define(holder: JsonObject, name: string, value: unknown): void {
  Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true })
}
