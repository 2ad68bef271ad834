/**
 * API keys. A key's text is `sk_test_` or `sk_live_`, the body of its public id, then 160 random bits; only a
 * digest is stored, found by the public id and compared in constant time.
 */
import { hash, timingSafeEqual } from 'node:crypto'
import type { Scope } from '@coffer/core/http-server.ts'
import { type Id, idPrefixes, isId, newId, newSecretText } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import * as queries from './queries.ts'

const idBodyLength = 26
const secretLength = 32
const keyPattern = /^sk_(test|live)_([0-9a-hjkmnp-tv-z]{26})([0-9a-hjkmnp-tv-z]{32})$/

export type Mode = 'sandbox' | 'live'
const prefixes: Record<Mode, string> = { sandbox: 'sk_test_', live: 'sk_live_' }

/** Who is let in, and as what: by an API key, or signed in as a user. */
export type Admitted = {
  key_id: Id<'apiKey'> | Id<'user'>
  merchant_id: Id<'merchant'>
  owner: string
  scopes: Scope[]
  expires_at: Date | null
}

export function newKeyText(mode: Mode): string {
  return `${prefixes[mode]}${newId('apiKey').slice(idPrefixes.apiKey.length)}${newSecretText(secretLength)}`
}

export function keyIdOf(keyText: string): Id<'apiKey'> {
  const start = prefixes.sandbox.length
  return `${idPrefixes.apiKey}${keyText.slice(start, start + idBodyLength)}`
}

export const digestOf = (keyText: string) => hash('sha256', keyText, 'buffer')

/** Told of a key that is known and not let in: a failed access, for the audit trail of its merchant. */
export type NoteRefusedKey = (known: { merchant_id: string; key_id: string }, reason: string) => void

/** The key this text is, or undefined: unknown, expired, revoked, and of the other mode look the same. */
export async function findKey(
  relayDatabase: Database,
  mode: Mode,
  keyText: string,
  noteRefused: NoteRefusedKey = () => {},
): Promise<Admitted | undefined> {
  if (!keyPattern.test(keyText) || !keyText.startsWith(prefixes[mode])) return undefined
  const row = await queries.findKnownKey(relayDatabase, keyIdOf(keyText))
  if (row === undefined) return undefined
  const isRight = timingSafeEqual(row.key_hash, digestOf(keyText))
  if (!isRight || !row.usable) {
    noteRefused(row, isRight ? 'the key is expired or revoked' : 'not the secret of this key')
    return undefined
  }
  // Nothing hangs on the note: a key that is good stays good without it.
  if (row.unnoted) await queries.noteUse(relayDatabase, row.key_id).catch(() => {})
  return row
}

/** The key of a token of ours, if it may still be used. */
export async function findKeyById(relayDatabase: Database, keyId: string): Promise<Admitted | undefined> {
  const row = await queries.findKnownKey(relayDatabase, keyId)
  return row?.usable ? row : undefined
}

/** Makes sure that this key exists, with a merchant of its own. Doing it again changes nothing. */
export async function ensureFirstKey(
  database: Database,
  key: { text: string; mode: Mode; merchant_name: string; owner: string; scopes: readonly Scope[] },
): Promise<void> {
  if (!keyPattern.test(key.text) || !key.text.startsWith(prefixes[key.mode]))
    throw new Error(`the first key must look like ${prefixes[key.mode]} with 58 characters behind it`)
  const keyId = keyIdOf(key.text)
  if (!isId('apiKey', keyId)) throw new Error('the first key does not hold a key id')
  await queries.insertFirstKey(database, {
    merchant_id: newId('merchant'),
    merchant_name: key.merchant_name,
    key_id: keyId,
    key_hash: digestOf(key.text),
    scopes: key.scopes,
    owner: key.owner,
  })
}
