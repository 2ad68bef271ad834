/** Keys of a simulated key service, with their versions, in one small file that is replaced with every change. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

export type KeptKey = {
  name: string
  /** Base64, oldest first. */
  versions: string[]
  enabled: boolean
  min_decryption_version: number
}

export type KeptKeys = {
  get(name: string): KeptKey | undefined
  all(): KeptKey[]
  put(key: KeptKey): void
  remove(name: string): void
}

export const newVersion = () => randomBytes(32).toString('base64')

/** @param path without one, keys live in memory only. */
export function openKeptKeys(path: string | undefined): KeptKeys {
  const keys = new Map<string, KeptKey>()
  for (const key of path === undefined ? [] : readKeys(path)) keys.set(key.name, key)
  const save = () => {
    if (path === undefined) return
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(`${path}.new`, JSON.stringify([...keys.values()]), { mode: 0o600, flush: true })
    renameSync(`${path}.new`, path)
  }
  return {
    get: (name) => keys.get(name),
    all: () => [...keys.values()],
    put(key) {
      keys.set(key.name, key)
      save()
    },
    remove(name) {
      keys.delete(name)
      save()
    },
  }
}

function readKeys(path: string): KeptKey[] {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as KeptKey[]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

export function sealBytes(version: string, plaintext: Buffer, associated: Buffer): Buffer {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(version, 'base64'), nonce).setAAD(associated)
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** Undefined where it does not authenticate. */
export function openBytes(version: string, sealed: Buffer, associated: Buffer): Buffer | undefined {
  if (sealed.length < 28) return undefined
  const key = Buffer.from(version, 'base64')
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(associated).setAuthTag(sealed.subarray(-16))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()])
  } catch {
    return undefined
  }
}
