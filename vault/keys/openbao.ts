/**
 * OpenBao or HashiCorp Vault: the transit engine wraps with a key that never leaves it. The context is the additional
 * data of its AES-GCM. The token is read from its file anew whenever that changes, as an agent renews it.
 */
import { Buffer } from 'node:buffer'
import { readFile, stat } from 'node:fs/promises'
import { Pool } from 'undici'
import { ProviderDenied } from './guarded-keys.ts'
import {
  contextText,
  type KeyContext,
  type WrappedKey,
  type WrappingKeys,
  WrongKey,
} from './wrapping-keys.ts'

export type OpenBaoOptions = {
  url: string
  /** PEM of the authority that signed its certificate; without it those that Node knows. */
  ca: string | undefined
  token_file: string
  /** Where the engine is mounted. */
  mount: string
  /** The key's name there, of type aes256-gcm96. */
  key_name: string
  namespace: string | undefined
  deadline_ms: number
}

const provider = 'openbao:'
const connectionsMax = 16
const answerBytesMax = 64 * 1024

export function createOpenBao(options: OpenBaoOptions): WrappingKeys {
  const client = new Pool(options.url, {
    connections: connectionsMax,
    pipelining: 1,
    connect: {
      timeout: options.deadline_ms / 2,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    },
    headersTimeout: options.deadline_ms,
    bodyTimeout: options.deadline_ms,
    maxResponseSize: answerBytesMax,
  })
  const readToken = tokenReader(options.token_file)
  const keyId = `${provider}${options.mount}/${options.key_name}:`

  async function call(operation: 'encrypt' | 'decrypt', body: object): Promise<Record<string, unknown>> {
    const { statusCode, body: answer } = await client.request({
      method: 'POST',
      path: `/v1/${options.mount}/${operation}/${options.key_name}`,
      headers: {
        'content-type': 'application/json',
        'x-vault-token': await readToken(),
        'x-vault-request': 'true',
        ...(options.namespace === undefined ? {} : { 'x-vault-namespace': options.namespace }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(options.deadline_ms),
    })
    const text = await answer.text()
    if (statusCode === 200) return (JSON.parse(text) as { data: Record<string, unknown> }).data
    throw refusal(statusCode, text)
  }

  async function encrypt(key: Buffer, context: KeyContext): Promise<WrappedKey> {
    const { ciphertext } = await call('encrypt', {
      plaintext: key.toString('base64'),
      associated_data: associatedData(context),
    })
    const version = /^[a-z]+:(v\d+):/.exec(String(ciphertext))?.[1]
    if (version === undefined) throw new Error('its answer holds no ciphertext')
    return { wrapped_key: Buffer.from(String(ciphertext)), wrapping_key_id: keyId + version }
  }

  async function decrypt(wrapped: WrappedKey, context: KeyContext): Promise<Buffer> {
    const { plaintext } = await call('decrypt', {
      ciphertext: wrapped.wrapped_key.toString(),
      associated_data: associatedData(context),
    })
    return Buffer.from(String(plaintext), 'base64')
  }

  let proof: Promise<void> | undefined
  /** A server from before 1.9 passes over the additional data: with it, a key that was moved would unwrap. */
  async function proveBinding(): Promise<void> {
    const wrapped = await encrypt(Buffer.alloc(32), probe('one'))
    const opened = await decrypt(wrapped, probe('other')).catch((error: unknown) => {
      if (!(error instanceof WrongKey)) throw error
    })
    if (opened !== undefined)
      throw new ProviderDenied('the transit engine does not authenticate associated_data: it is too old')
  }
  function proven(): Promise<void> {
    proof ??= proveBinding().catch((error: unknown) => {
      proof = undefined
      throw error
    })
    return proof
  }

  return {
    async wrap(key, context) {
      await proven()
      return encrypt(key, context)
    },
    async unwrap(wrapped, context) {
      if (!wrapped.wrapping_key_id.startsWith(keyId))
        throw new WrongKey(`${wrapped.wrapping_key_id} is not this vault's key`)
      return decrypt(wrapped, context)
    },
    async currentId() {
      return (await encrypt(Buffer.alloc(32), probe('one'))).wrapping_key_id
    },
    close: () => void client.destroy(),
  }
}

const probe = (keyId: string): KeyContext => ({ purpose: 'data key', merchant_id: '', key_id: keyId })
const associatedData = (context: KeyContext) => Buffer.from(contextText(context)).toString('base64')

/** 5xx and 429 pass: it is sealed, a standby, or has too much to do. */
function refusal(status: number, text: string): Error {
  const said = `${status} ${text.slice(0, 200)}`
  if (status >= 500 || status === 429) return new Error(`OpenBao does not answer: ${said}`)
  if (status === 400 && /message authentication failed|invalid ciphertext/.test(text))
    return new WrongKey(`OpenBao does not open it: ${said}`)
  return new ProviderDenied(`OpenBao refuses: ${said}`)
}

function tokenReader(file: string): () => Promise<string> {
  let known: { changed_ms: number; token: string } | undefined
  return async () => {
    const { mtimeMs } = await stat(file)
    if (known?.changed_ms !== mtimeMs)
      known = { changed_ms: mtimeMs, token: (await readFile(file, 'utf8')).trim() }
    return known.token
  }
}
