/** Random texts for ids and codes. */
import { randomFillSync } from 'node:crypto'

export const digits = '0123456789'
export const upperCase = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
export const lowerCase = 'abcdefghijklmnopqrstuvwxyz'

const pool = new Uint8Array(4096)
let used = pool.length

function randomByte(): number {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  return pool[used++]!
}

/** Each of the characters is as likely as any other. */
export function randomText(length: number, characters: string): string {
  const usable = characters.length * Math.floor(256 / characters.length)
  let text = ''
  while (text.length < length) {
    const byte = randomByte()
    if (byte < usable) text += characters[byte % characters.length]
  }
  return text
}
