/** Wrapping with a key in this process's memory: AES-256-GCM, its id made from the key itself. */
import { createCipheriv, createDecipheriv, createHmac, type KeyObject, randomBytes } from 'node:crypto'
import { contextText, type KeyContext, WrongKey } from './wrapping-keys.ts'

const nonceLength = 12
const tagLength = 16

/** Names the key and proves it: another key has another id. It tells nothing of 256 random bits. */
export function keyIdOf(key: KeyObject): string {
  return createHmac('sha256', key).update('coffer wrapping key id').digest('hex').slice(0, 32)
}

/** 12 bytes nonce, ciphertext, 16 bytes tag. */
export function aesWrap(wrapping: KeyObject, key: Buffer, context: KeyContext): Buffer {
  const nonce = randomBytes(nonceLength)
  const cipher = createCipheriv('aes-256-gcm', wrapping, nonce)
  cipher.setAAD(Buffer.from(contextText(context)))
  return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()])
}

/** @throws WrongKey where the bytes were changed, or were wrapped for another context or under another key. */
export function aesUnwrap(wrapping: KeyObject, wrapped: Buffer, context: KeyContext): Buffer {
  try {
    const nonce = wrapped.subarray(0, nonceLength)
    const decipher = createDecipheriv('aes-256-gcm', wrapping, nonce, { authTagLength: tagLength })
    decipher.setAAD(Buffer.from(contextText(context)))
    decipher.setAuthTag(wrapped.subarray(-tagLength))
    return Buffer.concat([decipher.update(wrapped.subarray(nonceLength, -tagLength)), decipher.final()])
  } catch (error) {
    throw new WrongKey('a wrapped key does not authenticate', error)
  }
}
