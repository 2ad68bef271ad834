/**
 * What makes the audit trail tamper-evident. Each record has a place in its zone's chain: its hash is over the hash
 * before it and the record's text, so nothing can be changed, removed, added or moved without every later hash
 * becoming another. A checkpoint is such a hash, signed with a key that is not in the database.
 */
import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import type { Secret } from './secret.ts'

/** A record as PostgreSQL gives it: all columns but the one that tells the sealer what is new. */
export type ChainedRecord = {
  audit_id: string
  merchant_id: string
  /** RFC 3339 in UTC, to the microsecond. */
  at: string
  actor: string
  key_id: string
  action: string
  object_id: string
  request_id: string
  source_address: string
  reason: string | null
  result: string
  ciphertext_hash: Buffer | null
}

/** The columns of a record for a `select`, `at` as text. Only the vault has bytes to hash. */
export const recordColumns = (zone: string) => `audit_id, merchant_id,
  to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, actor, key_id, action, object_id, request_id,
  source_address, reason, result, ${zone === 'vault' ? 'ciphertext_hash' : 'null::bytea as ciphertext_hash'}`

/** The one text of a record. An export holds this very text, so that nobody has to make it again to check a hash. */
export function recordText(zone: string, record: ChainedRecord): string {
  return JSON.stringify({
    zone,
    id: record.audit_id,
    merchant: record.merchant_id,
    at: record.at,
    actor: record.actor,
    key_id: record.key_id,
    action: record.action,
    object_id: record.object_id,
    request_id: record.request_id,
    source_address: record.source_address,
    reason: record.reason,
    result: record.result,
    ciphertext_hash: record.ciphertext_hash?.toString('hex') ?? null,
  })
}

/** What the first record's hash begins with; the migrations have it too. */
export const firstHash = (zone: string) => hash('sha256', `coffer audit chain ${zone}`, 'buffer')

export function nextHash(previous: Buffer, text: string): Buffer {
  return hash('sha256', Buffer.concat([previous, Buffer.from(text)]), 'buffer')
}

export type Checkpoint = {
  zone: string
  /** How many records the chain held. */
  sequence: number
  /** Of the last of them, in hex. */
  hash: string
  /** RFC 3339. */
  at: string
  /** Which key signed it. */
  signing_key: string
}

/** As it is stored and exported: the text that was signed, and the signature in base64. */
export type SignedCheckpoint = { checkpoint: string; signature: string }

export type CheckpointSigner = {
  /** Signs that the chain of this zone held so much, now. */
  sign(sequence: number, hash: Buffer, at: Date): SignedCheckpoint
}

/** Names a public key: the beginning of the SHA-256 of its DER. */
export function signingKeyName(publicKey: KeyObject): string {
  return hash('sha256', publicKey.export({ type: 'spki', format: 'der' })).slice(0, 16)
}

export function createCheckpointSigner(zone: string, key: Secret<string>): CheckpointSigner {
  const privateKey = createPrivateKey(key.expose())
  const signing_key = signingKeyName(createPublicKey(privateKey))
  return {
    sign(sequence, headHash, at) {
      const content: Checkpoint = {
        zone,
        sequence,
        hash: headHash.toString('hex'),
        at: at.toISOString(),
        signing_key,
      }
      const checkpoint = JSON.stringify(content)
      return { checkpoint, signature: sign(null, Buffer.from(checkpoint), privateKey).toString('base64') }
    },
  }
}

/** What was signed, or undefined where none of the keys did: a key that was replaced may still be among them. */
export function openCheckpoint(
  signed: SignedCheckpoint,
  publicKeys: readonly KeyObject[],
): Checkpoint | undefined {
  const signature = Buffer.from(signed.signature, 'base64')
  const text = Buffer.from(signed.checkpoint)
  if (!publicKeys.some((key) => verify(null, text, key, signature))) return undefined
  return JSON.parse(signed.checkpoint) as Checkpoint
}
