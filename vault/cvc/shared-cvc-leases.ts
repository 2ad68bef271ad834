/**
 * CVCs of several vault processes, in a Valkey or Redis that keeps nothing on disk. Each value is sealed under a key
 * that only the vaults have, and named by a keyed hash: the server knows neither the CVC nor whose it is. What is done
 * to a lease is one script, so of two processes one is first; the server's clock ends it.
 */
import { createHmac, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Secret } from '@coffer/core/secret.ts'
import type { DataKey } from '../keys/keyring.ts'
import { seal, unseal } from '../keys/sealed-text.ts'
import { type CvcLeases, type CvcPlace, cvcLifetimeMs } from './cvc-leases.ts'
import { connectToCvcStore } from './cvc-store.ts'

/** A lease is a hash: `value`, and once it is taken `attempt`, and once it may have been sent `sent`. */
const scripts = {
  put: `redis.call('del', KEYS[1])
    redis.call('hset', KEYS[1], 'value', ARGV[1])
    return redis.call('pexpire', KEYS[1], ARGV[2])`,
  take: `local lease = redis.call('hmget', KEYS[1], 'value', 'attempt')
    if not lease[1] or (lease[2] and lease[2] ~= ARGV[1]) then return false end
    redis.call('hset', KEYS[1], 'attempt', ARGV[1])
    return lease[1]`,
  has: `local lease = redis.call('hmget', KEYS[1], 'value', 'attempt')
    return lease[1] and not lease[2] and 1 or 0`,
  mark_sent: `if redis.call('hget', KEYS[1], 'attempt') == ARGV[1] then redis.call('hset', KEYS[1], 'sent', '1') end
    return 1`,
  give_back: `local lease = redis.call('hmget', KEYS[1], 'attempt', 'sent')
    if lease[1] == ARGV[1] and not lease[2] then redis.call('hdel', KEYS[1], 'attempt') end
    return 1`,
  forget: `if redis.call('hget', KEYS[1], 'attempt') == ARGV[1] then redis.call('del', KEYS[1]) end
    return 1`,
  drop: `return redis.call('del', KEYS[1])`,
}

/** What the store still has to be told, once it can be reached; the oldest makes room, and ends by itself. */
const owedMax = 10_000

/** @throws where the store keeps what it is given on disk. */
export async function openSharedCvcLeases(options: {
  url: Secret<string>
  key: Secret<string>
  is_declared_volatile: boolean
  log: Log
}): Promise<CvcLeases> {
  const { log } = options
  const keys = keysOf(options.key)
  const owed = new Map<string, { script: string; values: string[] }>()
  const store = await connectToCvcStore({
    url: options.url,
    is_declared_volatile: options.is_declared_volatile,
    log,
    onReachable: settle,
  })

  function owe(name: string, script: string, values: string[]): void {
    if (owed.size >= owedMax) owed.delete(owed.keys().next().value as string)
    owed.set(name, { script, values })
  }

  /** What makes a CVC go is done later if it cannot be done now. */
  async function tell(place: CvcPlace, script: string, values: string[]): Promise<void> {
    const name = nameOf(keys, place)
    await store.run(script, name, values, { is_removal: true }).catch(() => owe(name, script, values))
  }

  async function settle(): Promise<void> {
    for (const [name, { script, values }] of owed) {
      await store.run(script, name, values, { is_removal: true })
      owed.delete(name)
    }
  }

  return {
    ready: store.ready,
    async put(place, cvc) {
      const name = nameOf(keys, place)
      const value = sealed(keys, place, cvc).toString('base64')
      await store.run(scripts.put, name, [value, String(cvcLifetimeMs)]).catch((error: unknown) => {
        // It may be there all the same.
        owe(name, scripts.drop, [])
        throw error
      })
      owed.delete(name)
    },
    async take(place, attemptId) {
      const name = nameOf(keys, place)
      // What is still to be told of it comes first: until then it is nobody's.
      if (owed.has(name)) return undefined
      const value = await store.run(scripts.take, name, [attemptId])
      if (typeof value !== 'string') return undefined
      try {
        return opened(keys, place, Buffer.from(value, 'base64'))
      } catch (error) {
        log.error({ error }, 'a shared CVC does not open: do all vaults have the same VAULT_CVC_STORE_KEY?')
        throw new Failure('unavailable', { cause: error })
      }
    },
    async has(place) {
      const name = nameOf(keys, place)
      return !owed.has(name) && (await store.run(scripts.has, name, [])) === 1
    },
    markSent(place, attemptId) {
      tell(place, scripts.mark_sent, [attemptId])
    },
    giveBack: (place, attemptId) => tell(place, scripts.give_back, [attemptId]),
    forget(place, attemptId) {
      tell(place, scripts.forget, [attemptId])
    },
    drop(place) {
      tell(place, scripts.drop, [])
    },
    stop: store.close,
  }
}

type Keys = { names: KeyObject; values: KeyObject }

function keysOf(key: Secret<string>): Keys {
  const root = Buffer.from(key.expose(), 'base64')
  const derived = (info: string) => createSecretKey(Buffer.from(hkdfSync('sha256', root, '', info, 32)))
  return { names: derived('cvc names'), values: derived('cvc values') }
}

function nameOf(keys: Keys, { merchant_id, card_id }: CvcPlace): string {
  const hash = createHmac('sha256', keys.names).update(`${merchant_id}|${card_id}`).digest('base64url')
  return `coffer:cvc:${hash}`
}

const saltLength = 16

/** Each value has a key of its own, so that no key is ever used twice (NIST SP 800-38D, 8.3). */
function keyOf(keys: Keys, salt: Buffer): DataKey {
  const key = createSecretKey(Buffer.from(hkdfSync('sha256', keys.values, salt, 'cvc', 32)))
  return { data_key_id: `dek_${salt.toString('hex')}`, key }
}

const placeOf = ({ merchant_id, card_id }: CvcPlace) => `${merchant_id}|${card_id}|cvc|1`

function sealed(keys: Keys, place: CvcPlace, cvc: string): Buffer {
  const salt = randomBytes(saltLength)
  return Buffer.concat([salt, seal(keyOf(keys, salt), placeOf(place), cvc)])
}

function opened(keys: Keys, place: CvcPlace, value: Buffer): string {
  const salt = value.subarray(0, saltLength)
  return unseal(keyOf(keys, salt), placeOf(place), value.subarray(saltLength))
}
