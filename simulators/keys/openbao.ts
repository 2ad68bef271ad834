/**
 * A stand-in for the transit engine of OpenBao and HashiCorp Vault, as its documentation has it
 * (openbao.org/api-docs/secret/transit): paths, fields, versions in ciphertexts, and the words of its errors.
 */
import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type KeptKey, type KeptKeys, newVersion, openBytes, sealBytes } from './kept-keys.ts'
import { serveKeyFaults } from './key-faults.ts'

/** The sandbox's own token and key, there from the start. */
export const sandboxToken = 's.coffer-sandbox'
export const sandboxKeyName = 'coffer'

type Body = Record<string, unknown>
type Called = { body: Body; key: KeptKey | undefined; name: string }

class TransitError extends Error {
  readonly status: number
  constructor(message: string, status = 400) {
    super(message)
    this.status = status
  }
}

export function serveOpenBao(app: FastifyInstance, keys: KeptKeys): void {
  const faults = serveKeyFaults(app)
  const tokens = new Set([sandboxToken])
  if (keys.get(sandboxKeyName) === undefined) keys.put(newKey(sandboxKeyName))

  const answer = async (request: FastifyRequest, reply: FastifyReply, work: () => Body | undefined) => {
    try {
      const met = await faults.meet(reply)
      if (met === 'silent') return reply
      if (met === 'server_error') throw new TransitError('Vault is sealed', 503)
      if (met === 'throttled') throw new TransitError('request path rate limit quota exceeded', 429)
      if (met === 'denied' || !tokens.has(String(request.headers['x-vault-token'])))
        throw new TransitError('permission denied', 403)
      const data = work()
      if (data === undefined) return reply.code(204).send()
      return { request_id: randomUUID(), lease_id: '', renewable: false, lease_duration: 0, data }
    } catch (error) {
      if (!(error instanceof TransitError)) throw error
      return reply.code(error.status).send({ errors: [error.message] })
    }
  }
  const on = (method: 'GET' | 'POST' | 'DELETE', path: string, work: (called: Called) => Body | undefined) =>
    app.route<{ Params: { name: string } }>({
      method: method === 'POST' ? ['POST', 'PUT'] : [method],
      url: `/v1/transit/${path}`,
      handler: (request, reply) =>
        answer(request, reply, () => {
          const { name } = request.params
          return work({ body: (request.body ?? {}) as Body, key: keys.get(name), name })
        }),
    })

  on('POST', 'keys/:name', ({ key, name }) => {
    if (key === undefined) keys.put(newKey(name))
    return undefined
  })
  on('GET', 'keys/:name', ({ key }) => described(known(key, 404)))
  on('DELETE', 'keys/:name', ({ name }) => {
    keys.remove(name)
    return undefined
  })
  on('POST', 'keys/:name/rotate', ({ key }) => {
    keys.put({ ...known(key), versions: [...known(key).versions, newVersion()] })
    return undefined
  })
  on('POST', 'keys/:name/config', ({ key, body }) => {
    const min = Number(body['min_decryption_version'] ?? 1)
    if (!(min >= 1 && min <= known(key).versions.length))
      throw new TransitError('cannot set min decryption version of this value')
    keys.put({ ...known(key), min_decryption_version: min })
    return undefined
  })
  on('POST', 'encrypt/:name', ({ key, body }) => encrypt(known(key), body))
  on('POST', 'decrypt/:name', ({ key, body }) => decrypt(known(key), body))
  app.post('/v1/auth/token/create', (request, reply) =>
    answer(request, reply, () => {
      const token = `s.${randomUUID()}`
      tokens.add(token)
      return { client_token: token }
    }),
  )
  app.post('/v1/auth/token/revoke-self', (request, reply) =>
    answer(request, reply, () => {
      tokens.delete(String(request.headers['x-vault-token']))
      return undefined
    }),
  )
}

const newKey = (name: string): KeptKey => ({
  name,
  versions: [newVersion()],
  enabled: true,
  min_decryption_version: 1,
})

function known(key: KeptKey | undefined, status = 400): KeptKey {
  if (key === undefined) throw new TransitError('encryption key not found', status)
  return key
}

const described = (key: KeptKey): Body => ({
  name: key.name,
  type: 'aes256-gcm96',
  latest_version: key.versions.length,
  min_decryption_version: key.min_decryption_version,
  min_encryption_version: 0,
  supports_encryption: true,
  supports_decryption: true,
})

function base64Of(body: Body, name: string): Buffer {
  const text = String(body[name] ?? '')
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0)
    throw new TransitError(`failed to base64-decode ${name}`)
  return Buffer.from(text, 'base64')
}

function encrypt(key: KeptKey, body: Body): Body {
  const version = key.versions.length
  const sealed = sealBytes(
    key.versions[version - 1]!,
    base64Of(body, 'plaintext'),
    base64Of(body, 'associated_data'),
  )
  return { ciphertext: `vault:v${version}:${sealed.toString('base64')}`, key_version: version }
}

function decrypt(key: KeptKey, body: Body): Body {
  const text = String(body['ciphertext'] ?? '')
  if (text === '') throw new TransitError('missing ciphertext to decrypt')
  const [, digits, base64] = /^vault:v(\d+):(.*)$/.exec(text) ?? []
  if (digits === undefined) throw new TransitError('invalid ciphertext: no prefix')
  const version = Number(digits)
  if (version > key.versions.length) throw new TransitError('invalid ciphertext: version is too new')
  if (version < key.min_decryption_version)
    throw new TransitError('ciphertext or signature version is disallowed by policy (too old)')
  const sealed = Buffer.from(base64!, 'base64')
  const plaintext = openBytes(key.versions[version - 1]!, sealed, base64Of(body, 'associated_data'))
  if (plaintext === undefined) throw new TransitError('cipher: message authentication failed')
  return { plaintext: plaintext.toString('base64') }
}
