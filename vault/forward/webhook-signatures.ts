/**
 * Whether a PSP has signed a notice. The secret it signs with stays here: whoever asks brings what was signed and the
 * signatures, and is told yes or no.
 */
import { Buffer } from 'node:buffer'
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { WebhookSignature } from '@coffer/core/connector.ts'
import type { WebhookSignaturesCall } from '@coffer/core/internal-api.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import { isKeysDestroyed, type Keyring } from '../keys/keyring.ts'
import { unseal, webhookSecretPlace } from '../keys/sealed-text.ts'
import { findWebhookSecret } from './connection-queries.ts'

export type WebhookSignatures = ReturnType<typeof createWebhookSignatures>

/** A changed secret is the one that counts within this time. */
const cacheMs = 2_000
const cachedMax = 10_000

export function createWebhookSignatures(deps: { database: Database; keyring: Keyring }) {
  const opened = new Map<string, { at_ms: number; secret: Promise<Secret<string> | undefined> }>()

  async function load(merchantId: string, connectionId: string): Promise<Secret<string> | undefined> {
    const row = await findWebhookSecret(deps.database, merchantId, connectionId)
    if (row === undefined) return undefined
    try {
      const dataKey = await deps.keyring.forDecryption(merchantId, row.data_key_id)
      return new Secret(unseal(dataKey, webhookSecretPlace(row), row.secret_encrypted))
    } catch (error) {
      if (isKeysDestroyed(error)) return undefined
      throw error
    }
  }

  function open(merchantId: string, connectionId: string): Promise<Secret<string> | undefined> {
    const name = `${merchantId}|${connectionId}`
    const known = opened.get(name)
    const now = performance.now()
    if (known !== undefined && now - known.at_ms < cacheMs) return known.secret
    const secret = load(merchantId, connectionId)
    secret.catch(() => opened.delete(name))
    if (opened.size >= cachedMax) opened.clear()
    opened.set(name, { at_ms: now, secret })
    return secret
  }

  return {
    /** False also where there is no such connection, or none that has a webhook secret. */
    async areValid({ merchant_id, connection_id, signatures }: WebhookSignaturesCall): Promise<boolean> {
      const secret = await open(merchant_id, connection_id)
      return secret !== undefined && signatures.every((each) => isSigned(each, secret))
    },
  }
}

/** Looks at every signature, however many are wrong: the time it takes tells nothing of the secret. */
export function isSigned(
  { key_encoding, encoding, message, signatures }: Omit<WebhookSignature, 'signed_at'>,
  secret: Secret<string>,
): boolean {
  const key = keyOf(secret, key_encoding)
  if (key === undefined) return false
  const expected = createHmac('sha256', key).update(message).digest()
  let isRight = false
  for (const signature of signatures) {
    const given = Buffer.from(signature, encoding)
    if (given.length === expected.length && timingSafeEqual(given, expected)) isRight = true
  }
  return isRight
}

/** Bytes that are not hexadecimal would make an empty key, under which anybody can sign. */
function keyOf(secret: Secret<string>, encoding: 'utf8' | 'hex'): Buffer | undefined {
  const text = secret.expose()
  if (encoding === 'utf8') return Buffer.from(text)
  return /^(?:[0-9a-f]{2})+$/i.test(text) ? Buffer.from(text, 'hex') : undefined
}
