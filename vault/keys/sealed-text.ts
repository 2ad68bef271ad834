/**
 * A secret at rest: version byte, algorithm byte, 96-bit random nonce, ciphertext, 128-bit tag (AES-256-GCM,
 * NIST SP 800-38D). The additional data binds it to its place and its key, so bytes that were swapped, moved
 * or cut do not open.
 */
import { createCipheriv, createDecipheriv, randomFillSync } from 'node:crypto'
import type { DataKey } from './keyring.ts'

const formatVersion = 1
const algorithmAes256Gcm = 1
const nonceLength = 12
const tagLength = 16
const headerLength = 2 + nonceLength

/** Names one field of one row of one merchant. */
export type Place = string

export function cardNumberPlace(row: {
  merchant_id: string
  card_id: string
  card_version_id: string
}): Place {
  return `${row.merchant_id}|${row.card_id}|${row.card_version_id}|number|1`
}

export function connectionSecretPlace(row: { merchant_id: string; connection_id: string }): Place {
  return `${row.merchant_id}|${row.connection_id}|secret|1`
}

/** With what the connection's PSP signs its notices. */
export function webhookSecretPlace(row: { merchant_id: string; connection_id: string }): Place {
  return `${row.merchant_id}|${row.connection_id}|webhook secret|1`
}

/** @param field what of the destination it is: each is sealed for its own place. */
export function destinationSecretPlace(
  row: { merchant_id: string; destination_id: string },
  field: 'client_key' | 'finishing_secret',
): Place {
  return `${row.merchant_id}|${row.destination_id}|${field}|1`
}

export function tokenDataPlace(row: { merchant_id: string; token_id: string }): Place {
  return `${row.merchant_id}|${row.token_id}|data|1`
}

/** The key of an import's or an export's file on disk. */
export function fileKeyPlace(merchantId: string, objectId: string): Place {
  return `${merchantId}|${objectId}|file key|1`
}

/** The private key that files for a merchant are encrypted to. */
export function importKeyPlace(merchantId: string, algorithm: string): Place {
  return `${merchantId}|import key ${algorithm}|1`
}

// Nonces are cut from blocks: one call into the operating system serves hundreds.
const nonceBlock = Buffer.allocUnsafeSlow(nonceLength * 256)
let nonceOffset = nonceBlock.length

function writeNonce(target: Buffer, offset: number): void {
  if (nonceOffset === nonceBlock.length) {
    randomFillSync(nonceBlock)
    nonceOffset = 0
  }
  nonceBlock.copy(target, offset, nonceOffset, nonceOffset + nonceLength)
  nonceOffset += nonceLength
}

const additionalData = (place: Place, dataKey: DataKey) => Buffer.from(`${place}|${dataKey.data_key_id}`)

/** `text` is Latin-1: card numbers and keys are. */
export function seal(dataKey: DataKey, place: Place, text: string): Buffer {
  const sealed = Buffer.allocUnsafeSlow(headerLength + text.length + tagLength)
  sealed[0] = formatVersion
  sealed[1] = algorithmAes256Gcm
  writeNonce(sealed, 2)
  const cipher = createCipheriv('aes-256-gcm', dataKey.key, sealed.subarray(2, headerLength))
  cipher.setAAD(additionalData(place, dataKey))
  cipher.update(text, 'latin1').copy(sealed, headerLength)
  cipher.final()
  cipher.getAuthTag().copy(sealed, headerLength + text.length)
  return sealed
}

/** @throws where the bytes are not what was written for this very place under this key. */
export function unseal(dataKey: DataKey, place: Place, sealed: Buffer): string {
  if (sealed[0] !== formatVersion || sealed[1] !== algorithmAes256Gcm)
    throw new Error('the stored secret has an unknown format')
  const nonce = sealed.subarray(2, headerLength)
  const decipher = createDecipheriv('aes-256-gcm', dataKey.key, nonce, { authTagLength: tagLength })
  decipher.setAAD(additionalData(place, dataKey))
  decipher.setAuthTag(sealed.subarray(-tagLength))
  return (
    decipher.update(sealed.subarray(headerLength, -tagLength), undefined, 'latin1') + decipher.final('latin1')
  )
}
