/**
 * Shares of a wrapping key (Shamir): so many of them make the key, and fewer tell nothing about it. A share is one word
 * to type: letters only, so nothing in it looks like a card number, with a check of itself at its end.
 */
import { createSecretKey, hash, type KeyObject, randomBytes } from 'node:crypto'
import { combine, split } from 'shamir-secret-sharing'
import { keyIdOf } from './aes-wrapping.ts'

/** One share, for one custodian. */
export type Share = {
  /** Names the key and proves it once it is put together. */
  key_id: string
  /** How many different ones make the key. */
  threshold: number
  /** As the sharing gives it: 32 bytes, and 1 for the share's place. */
  bytes: Buffer
}

const keyLength = 32
const keyIdLength = 16
const checkLength = 4
/** Sixteen letters that are hard to mistake for each other, for the sixteen values of four bits. */
const alphabet = 'bcdfghjkmnpqrstv'
const format = 1

/**
 * Makes a new key and its shares; nothing else has it afterwards.
 * @param shares 2 to 255, of which `threshold`, 2 or more, make the key.
 */
export async function splitNewKey(
  shares: number,
  threshold: number,
): Promise<{ key_id: string; shares: string[] }> {
  const isWhole = Number.isInteger(shares) && Number.isInteger(threshold)
  if (!isWhole || threshold < 2 || threshold > shares || shares > 255)
    throw new RangeError('2 to 255 shares, of which 2 or more make the key')
  const key = randomBytes(keyLength)
  const key_id = keyIdOf(createSecretKey(key))
  const parts = await split(new Uint8Array(key), shares, threshold)
  key.fill(0)
  return {
    key_id,
    shares: parts.map((bytes) => writeShare({ key_id, threshold, bytes: Buffer.from(bytes) })),
  }
}

/** @returns undefined where the shares do not make the key that they name. */
export async function combineShares(shares: readonly Share[]): Promise<KeyObject | undefined> {
  const bytes = await combine(shares.map((share) => new Uint8Array(share.bytes)))
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return keyIdOf(key) === shares[0]!.key_id ? key : undefined
}

function writeShare({ key_id, threshold, bytes }: Share): string {
  const body = Buffer.concat([Buffer.from([format, threshold]), Buffer.from(key_id, 'hex'), bytes])
  const letters = [...Buffer.concat([body, checkOf(body)])].flatMap((byte) => [
    alphabet[byte >> 4]!,
    alphabet[byte & 15]!,
  ])
  return letters
    .join('')
    .match(/.{1,8}/g)!
    .join('-')
}

/** @returns undefined for what is no share, or one that was mistyped. */
export function readShare(text: string): Share | undefined {
  const letters = text.toLowerCase().replaceAll(/[\s-]/g, '')
  const values = [...letters].map((letter) => alphabet.indexOf(letter))
  const length = 2 + keyIdLength + keyLength + 1 + checkLength
  if (values.length !== 2 * length || values.includes(-1)) return undefined
  const all = Buffer.alloc(length)
  for (let at = 0; at < length; at++) all[at] = (values[2 * at]! << 4) | values[2 * at + 1]!
  const body = all.subarray(0, -checkLength)
  if (!all.subarray(-checkLength).equals(checkOf(body))) return undefined
  const [version, threshold] = [body[0]!, body[1]!]
  if (version !== format || threshold < 2) return undefined
  return {
    key_id: body.toString('hex', 2, 2 + keyIdLength),
    threshold,
    bytes: Buffer.from(body.subarray(2 + keyIdLength)),
  }
}

const checkOf = (body: Buffer) => hash('sha256', body, 'buffer').subarray(0, checkLength)
