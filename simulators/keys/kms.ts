/**
 * A stand-in for AWS KMS: its JSON protocol (`X-Amz-Target: TrentService.…`, `application/x-amz-json-1.1`), and its
 * error types. The official SDK drives it. Signatures are looked for and not verified.
 */
import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { type KeptKey, type KeptKeys, newVersion, openBytes, sealBytes } from './kept-keys.ts'
import { serveKeyFaults } from './key-faults.ts'

const account = '111122223333'

/** The sandbox's own key, there from the start. */
export const sandboxKeyArn = `arn:aws:kms:eu-central-1:${account}:key/00000000-c0ff-4e12-8000-000000000001`

type Body = Record<string, unknown>
type Answer = { status: number; body: Body }

class KmsError extends Error {
  readonly type: string
  readonly status: number
  constructor(type: string, message: string, status = 400) {
    super(message)
    this.type = type
    this.status = status
  }
}

export function serveKms(app: FastifyInstance, keys: KeptKeys): void {
  app.removeContentTypeParser(['application/json'])
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, text, done) =>
    done(null, parsed(text)),
  )
  app.addContentTypeParser('application/x-amz-json-1.1', { parseAs: 'string' }, (_request, text, done) =>
    done(null, parsed(text)),
  )
  if (keys.get(sandboxKeyArn) === undefined) keys.put(newKey(sandboxKeyArn))
  const faults = serveKeyFaults(app)
  const operations: Record<string, (body: Body) => Body> = {
    CreateKey: () => {
      const key = newKey(`arn:aws:kms:eu-central-1:${account}:key/${randomUUID()}`)
      keys.put(key)
      return { KeyMetadata: metadataOf(key) }
    },
    DescribeKey: (body) => ({ KeyMetadata: metadataOf(found(keys, body)) }),
    DisableKey: (body) => enable(keys, found(keys, body), false),
    EnableKey: (body) => enable(keys, found(keys, body), true),
    Encrypt: (body) => encrypt(usable(found(keys, body)), body),
    Decrypt: (body) => decrypt(keys, body),
  }

  app.post('/', async (request, reply) => {
    const name = String(request.headers['x-amz-target'] ?? '').replace(/^TrentService\./, '')
    const isSigned = /^AWS4-HMAC-SHA256 Credential=[^,]+\/kms\/aws4_request, /.test(
      request.headers.authorization ?? '',
    )
    const met = await faults.meet(reply)
    if (met === 'silent') return reply
    const { status, body } = answerOf(() => {
      if (met === 'server_error') throw new KmsError('KMSInternalException', 'internal failure', 500)
      if (met === 'throttled') throw new KmsError('ThrottlingException', 'Rate exceeded')
      if (!isSigned) throw new KmsError('MissingAuthenticationTokenException', 'Missing Authentication Token')
      if (met === 'denied')
        throw new KmsError('AccessDeniedException', `User is not authorized to perform: kms:${name}`)
      const operation = operations[name]
      if (operation === undefined) throw new KmsError('UnknownOperationException', '')
      return operation(request.body as Body)
    })
    return reply
      .code(status)
      .header('x-amzn-requestid', randomUUID())
      .header('content-type', 'application/x-amz-json-1.1')
      .send(JSON.stringify(body))
  })
}

function answerOf(work: () => Body): Answer {
  try {
    return { status: 200, body: work() }
  } catch (error) {
    if (!(error instanceof KmsError)) throw error
    return { status: error.status, body: { __type: error.type, message: error.message } }
  }
}

function parsed(text: unknown): Body {
  try {
    return JSON.parse(String(text)) as Body
  } catch {
    return {}
  }
}

const newKey = (arn: string): KeptKey => ({
  name: arn,
  versions: [newVersion()],
  enabled: true,
  min_decryption_version: 1,
})

const metadataOf = (key: KeptKey) => ({
  AWSAccountId: account,
  Arn: key.name,
  KeyId: key.name.split('/')[1],
  Enabled: key.enabled,
  KeySpec: 'SYMMETRIC_DEFAULT',
  KeyState: key.enabled ? 'Enabled' : 'Disabled',
  KeyUsage: 'ENCRYPT_DECRYPT',
})

/** By ARN or by its last part. */
function found(keys: KeptKeys, { KeyId }: Body): KeptKey {
  const key = keys.all().find(({ name }) => name === KeyId || name.split('/')[1] === KeyId)
  if (key === undefined) throw new KmsError('NotFoundException', `Key '${KeyId}' does not exist`)
  return key
}

function usable(key: KeptKey): KeptKey {
  if (!key.enabled) throw new KmsError('DisabledException', `${key.name} is disabled.`)
  return key
}

function enable(keys: KeptKeys, key: KeptKey, enabled: boolean): Body {
  keys.put({ ...key, enabled })
  return {}
}

/** KMS sorts the pairs; they must be the same, in whatever order. */
function associatedData({ EncryptionContext }: Body): Buffer {
  const pairs = Object.entries((EncryptionContext ?? {}) as Record<string, string>)
  if (pairs.some(([name, value]) => name === '' || value === ''))
    throw new KmsError('ValidationException', 'an encryption context has no empty names and values')
  return Buffer.from(JSON.stringify(pairs.sort(([a], [b]) => (a < b ? -1 : 1))))
}

const bytesOf = (value: unknown) => Buffer.from(String(value ?? ''), 'base64')

function encrypt(key: KeptKey, body: Body): Body {
  const plaintext = bytesOf(body['Plaintext'])
  if (plaintext.length < 1 || plaintext.length > 4_096)
    throw new KmsError('ValidationException', 'Plaintext has 1 to 4096 bytes')
  const sealed = sealBytes(key.versions.at(-1)!, plaintext, associatedData(body))
  const blob = Buffer.concat([Buffer.from([key.name.length]), Buffer.from(key.name), sealed])
  return {
    CiphertextBlob: blob.toString('base64'),
    KeyId: key.name,
    EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
  }
}

/** The ciphertext itself says which key it is of. */
function decrypt(keys: KeptKeys, body: Body): Body {
  const blob = bytesOf(body['CiphertextBlob'])
  const length = blob[0] ?? 0
  const key = keys.get(blob.toString('utf8', 1, 1 + length))
  if (key === undefined) throw new KmsError('InvalidCiphertextException', '')
  if (body['KeyId'] !== undefined && found(keys, body) !== key)
    throw new KmsError('IncorrectKeyException', 'The key ID in the request does not identify its key.')
  const plaintext = openBytes(usable(key).versions[0]!, blob.subarray(1 + length), associatedData(body))
  if (plaintext === undefined) throw new KmsError('InvalidCiphertextException', '')
  return {
    Plaintext: plaintext.toString('base64'),
    KeyId: key.name,
    EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
  }
}
