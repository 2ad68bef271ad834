/**
 * A stand-in for an OpenID Connect identity provider: it has a discovery document and keys, and signs an ID token for
 * whoever is named. So a sandbox has people, and what takes two of them can be tried. Nobody proves who they are here.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import Fastify from 'fastify'

export type IdentityProvider = { issuer: string; audience: string; stop(): Promise<void> }

/** Its users at Coffer are known by the issuer's address, so it takes the same port again where that is free. */
type Kept = { port: number; private_key: string }

const audience = 'coffer'
const keyId = 'sandbox'
const tokenSeconds = 8 * 3_600

/** @param file where its key and port are kept. */
export async function startIdentityProvider(file: string): Promise<IdentityProvider> {
  const kept = readKept(file)
  const key = createPrivateKey(kept.private_key)
  const jwk = { ...createPublicKey(key).export({ format: 'jwk' }), kid: keyId, alg: 'EdDSA', use: 'sig' }
  const app = Fastify({ forceCloseConnections: true })
  let issuer = ''
  app.get('/.well-known/openid-configuration', async () => ({
    issuer,
    jwks_uri: `${issuer}/jwks`,
    id_token_signing_alg_values_supported: ['EdDSA'],
    subject_types_supported: ['public'],
    response_types_supported: ['id_token'],
  }))
  app.get('/jwks', async () => ({ keys: [jwk] }))
  app.get<{ Querystring: { subject?: string } }>('/token', async ({ query }, reply) => {
    const { subject } = query
    reply.type('text/plain')
    if (subject === undefined || subject === '') return reply.code(400).send('?subject=… is who signs in\n')
    const iat = Math.floor(Date.now() / 1000)
    const claims = { iss: issuer, aud: audience, sub: subject, iat, exp: iat + tokenSeconds }
    const text = [{ alg: 'EdDSA', typ: 'JWT', kid: keyId }, claims].map(encoded).join('.')
    return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}\n`
  })
  issuer = await listen(app, kept.port)
  keep(file, { ...kept, port: Number(new URL(issuer).port) })
  return { issuer, audience, stop: () => app.close() }
}

const encoded = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')

async function listen(app: ReturnType<typeof Fastify>, port: number): Promise<string> {
  try {
    return await app.listen({ host: '127.0.0.1', port })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || port === 0) throw error
    return app.listen({ host: '127.0.0.1', port: 0 })
  }
}

function readKept(file: string): Kept {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Kept
  } catch (error) {
    // A crash while it was written leaves a part of it: with another key, people sign in again.
    if (!(error instanceof SyntaxError) && (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const { privateKey } = generateKeyPairSync('ed25519')
    return { port: 0, private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
  }
}

function keep(file: string, kept: Kept): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(file, `${JSON.stringify(kept)}\n`, { mode: 0o600 })
}
