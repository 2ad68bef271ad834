/**
 * Ids: a prefix that tells the kind, 48 bits of time in milliseconds, then random bits, in lower-case
 * Crockford base32. Ids of one process are in order of creation to the millisecond, so indexes grow at their
 * end. Ids of cards and tokens carry 128 random bits (a UUID does not have that many), the others 80.
 */
import { randomFillSync } from 'node:crypto'

export const idPrefixes = {
  card: 'card_',
  cardVersion: 'cver_',
  token: 'tok_',
  fingerprint: 'fpr_',
  forward: 'fwd_',
  payment: 'pay_',
  attempt: 'att_',
  operation: 'op_',
  agreement: 'agr_',
  pspToken: 'ptk_',
  pspWebhook: 'pwh_',
  dispute: 'dsp_',
  event: 'evt_',
  audit: 'aud_',
  apiKey: 'key_',
  merchant: 'mer_',
  connection: 'con_',
  user: 'usr_',
  approval: 'appr_',
  destination: 'dest_',
  dataKey: 'dek_',
  keyRotation: 'krot_',
  keyDestruction: 'kdes_',
  request: 'req_',
  import: 'imp_',
  export: 'exp_',
  paymentBatch: 'batch_',
} as const

export type IdKind = keyof typeof idPrefixes
export type Id<Kind extends IdKind> = `${(typeof idPrefixes)[Kind]}${string}`

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'
const timeLength = 10
const randomLength = (kind: IdKind) => (kind === 'card' || kind === 'token' ? 26 : 16)

// Random bytes are taken in blocks: one call into the operating system serves hundreds of ids.
const block = Buffer.allocUnsafeSlow(4096)
let used = block.length

function randomText(length: number): string {
  if (used + length > block.length) {
    randomFillSync(block)
    used = 0
  }
  let text = ''
  for (let index = 0; index < length; index++) text += alphabet[block[used++]! & 31]
  return text
}

let lastTime = -1
let lastTimeText = ''

function timeText(milliseconds: number): string {
  if (milliseconds === lastTime) return lastTimeText
  let rest = milliseconds
  let text = ''
  for (let index = 0; index < timeLength; index++) {
    text = alphabet[rest % 32]! + text
    rest = Math.floor(rest / 32)
  }
  lastTime = milliseconds
  lastTimeText = text
  return text
}

/** As many digits in a row as a card number has. */
const digitRun = /[0-9]{13}/

export function newId<Kind extends IdKind>(kind: Kind, now: number = Date.now()): Id<Kind> {
  const body = `${timeText(now)}${randomText(randomLength(kind))}`
  // One in some hundred thousand could be mistaken for a card number: then another is drawn.
  return digitRun.test(body) ? newId(kind, now) : `${idPrefixes[kind]}${body}`
}

/** Sorts below every id of the kind made at that moment or later, and above every earlier one. */
export function lowestIdAt(kind: IdKind, milliseconds: number): string {
  return `${idPrefixes[kind]}${timeText(Math.max(0, Math.floor(milliseconds)))}`
}

/** A random secret of `length` base32 characters (5 bits each). */
export function newSecretText(length: number): string {
  return randomText(length)
}

/** JSON schema pattern of an id, for route schemas. */
export function idPattern(kind: IdKind): string {
  return `^${idPrefixes[kind]}[0-9a-hjkmnp-tv-z]{${timeLength + randomLength(kind)}}$`
}

export function isId<Kind extends IdKind>(kind: Kind, text: string): text is Id<Kind> {
  return new RegExp(idPattern(kind)).test(text)
}
