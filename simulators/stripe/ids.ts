/** Ids in Stripe's form, and the numbers a card network gives to a transaction. */
import { randomFillSync } from 'node:crypto'
import type { Brand } from './cards.ts'

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const pool = new Uint8Array(4096)
let used = pool.length

function randomByte(): number {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  return pool[used++]!
}

function randomText(length: number, base: number): string {
  let text = ''
  while (text.length < length) {
    const byte = randomByte()
    if (byte < base * Math.floor(256 / base)) text += alphabet[byte % base]
  }
  return text
}

export const newId = (prefix: 'pm' | 'pi' | 'ch' | 're' | 'cus' | 'req' | 'evt' | 'dp') =>
  `${prefix}_${randomText(24, 62)}`

export const newSecret = () => randomText(24, 62)

export const newAuthorizationCode = () => randomText(6, 10)

/** Mastercard's is a code and a date, the others' have 15 digits. */
export function newNetworkTransactionId(brand: Brand, now_ms: number): string {
  if (brand !== 'mastercard') return randomText(15, 10)
  const now = new Date(now_ms)
  const month = String(now.getUTCMonth() + 1).padStart(2, '0')
  return `MCC${randomText(6, 36)}${month}${String(now.getUTCDate()).padStart(2, '0')}`
}
