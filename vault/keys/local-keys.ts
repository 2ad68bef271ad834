/** The wrapping key as a file beside the vault, and those it followed while something is still wrapped by them. */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import type { Secret } from '@coffer/core/secret.ts'
import { aesUnwrap, aesWrap, keyIdOf } from './aes-wrapping.ts'
import { type KeyContext, type WrappedKey, type WrappingKeys, WrongKey } from './wrapping-keys.ts'

/** Of data keys from a time when wrapping keys had no ids: any of ours may have wrapped them. */
const idBeforeIds = 'local'

/** @param previous keys that unwrap but no longer wrap. */
export function createLocalKeys(current: Secret<string>, previous: Secret<string>[] = []): WrappingKeys {
  const currentKey = symmetricKey('wrapping', current)
  const keys = [currentKey, ...previous.map((key) => symmetricKey('wrapping', key))]
  const byId = new Map(keys.map((key) => [localId(key), key]))
  const currentId = localId(currentKey)

  return {
    async wrap(key, context) {
      return { wrapped_key: aesWrap(currentKey, key, context), wrapping_key_id: currentId }
    },
    async unwrap(wrapped, context) {
      if (wrapped.wrapping_key_id === idBeforeIds) return unwrapByAny(keys, wrapped, context)
      const key = byId.get(wrapped.wrapping_key_id)
      if (key === undefined) throw new WrongKey(`there is no wrapping key ${wrapped.wrapping_key_id} here`)
      return aesUnwrap(key, wrapped.wrapped_key, context)
    },
    async currentId() {
      return currentId
    },
    hasKeyOf: (checkValue) => keys.some((key) => keyCheckOf('wrapping', key).equals(checkValue)),
  }
}

/** Tells a key from others of its name, and nothing about it. */
export function keyCheckOf(name: string, key: KeyObject): Buffer {
  return createHmac('sha256', key).update(`coffer key check ${name}`).digest()
}

const localId = (key: KeyObject) => `local:${keyIdOf(key)}`

function unwrapByAny(keys: KeyObject[], wrapped: WrappedKey, context: KeyContext): Buffer {
  let failure: unknown
  for (const key of keys)
    try {
      return aesUnwrap(key, wrapped.wrapped_key, context)
    } catch (error) {
      failure = error
    }
  throw failure
}

/** @throws where it is not 32 bytes in base64. */
export function symmetricKey(name: string, value: Secret<string>): KeyObject {
  const bytes = Buffer.from(value.expose(), 'base64')
  if (bytes.length !== 32) throw new Error(`the ${name} key must be 32 bytes in base64`)
  return createSecretKey(bytes)
}
