import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Approvals } from '@coffer/core/approvals.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Secret } from '@coffer/core/secret.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { eventually } from '../../test/support/product.ts'
import type { Card } from '../cards/schemas.ts'
import {
  newCaller,
  newRootKey,
  openTestVault,
  rootKeysOf,
  rowsOf,
  serialize,
  type TestVault,
  testCard,
} from '../test-vault.ts'
import { startKeyWork } from './key-work.ts'
import { createLocalKeys } from './local-keys.ts'
import type { RotationKind } from './rotation-queries.ts'
import type { KeyRotation } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const relayDatabase = postgres.open('coffer_vault_relay')
const { wrapping } = rootKeysOf(postgres)
const number = '4242424242424242'

// Access keeps approvals; here stands one that was given.
const approvals: Approvals = {
  consume: async ({ approval_id }) => ({
    approval_id: approval_id!,
    requested_by: 'ada',
    approved_by: 'grace',
    reason: 'the merchant left',
  }),
}

/** A process of the vault, with everything that belongs to keys. */
async function openProcess(keys: { wrapping?: Secret<string>; previous?: Secret<string>[] } = {}) {
  const vault = await openTestVault(postgres, undefined, undefined, keys)
  const keyWork = await startKeyWork({
    ...vault,
    relayDatabase,
    wrappingKeys: createLocalKeys(keys.wrapping ?? wrapping, keys.previous),
    approvals,
    config: { VAULT_KEY_ROTATION_ROWS_PER_SECOND: 100_000, VAULT_BACKUP_RETENTION_DAYS: 35 },
    clock: systemClock,
    log: quietLog,
  })
  let stopped: Promise<void> | undefined
  return {
    ...vault,
    ...keyWork,
    stop: () => (stopped ??= keyWork.stop().then(() => vault.keyring.stop())),
  }
}

const processes = [await openProcess(), await openProcess()] as const
after(() => Promise.all(processes.map((one) => one.stop())))
const [one, other] = processes

const keep = async (
  vault: TestVault,
  caller: ReturnType<typeof newCaller>,
  card: string,
  key: string | null = null,
) => JSON.parse((await vault.cards.create(caller, testCard({ number: card }), key, serialize)).body) as Card

async function rotate(kind: RotationKind, merchant: string = newId('merchant')): Promise<KeyRotation> {
  const caller = newCaller(merchant)
  const answer = await one.rotations.start(caller, true, kind, null, (rotation) => JSON.stringify(rotation))
  const { id } = JSON.parse(answer.body) as KeyRotation
  return eventually(async () => {
    const rotation = await one.rotations.get(merchant, true, id)
    return rotation.state !== 'running' && rotation
  })
}

test('SEC-09: while a data key is rotated everything is read and written, and at the end nothing is under the old one', async () => {
  const caller = newCaller()
  const merchant = caller.merchant_id
  const cards = await Promise.all(
    Array.from({ length: 30 }, (_, turn) => keep(processes[turn % 2]!, caller, number)),
  )
  const [before] = await rowsOf(postgres, 'data_keys', merchant)
  let rotating = true
  const traffic = Array.from({ length: 4 }, async (_, lane) => {
    const vault = processes[lane % 2]!
    for (let turn = lane; rotating; turn++) {
      const card = await keep(vault, caller, number)
      cards.push(card)
      const revealed = await vault.cards.reveal(caller, cards[turn % cards.length]!.id, 'a test')
      assert.equal(revealed.number, number)
    }
  })
  const rotation = await rotate('data', merchant)
  rotating = false
  await Promise.all(traffic)
  assert.equal(rotation.state, 'finished')
  assert.ok(rotation.rows_done >= 30 && rotation.errors === 0, JSON.stringify(rotation))
  const { data_keys } = await one.census.take(merchant, true)
  const old = data_keys.find((key) => key.id === before!['data_key_id'])!
  assert.equal(old.rows, 0)
  assert.ok(old.superseded_at !== null && old.retired_at !== null)
  assert.equal(
    data_keys.reduce((sum, key) => sum + key.rows, 0),
    cards.length,
  )
  // Each row that got new bytes has its record, with their hash.
  const trail = await rowsOf(postgres, 'audit_records', merchant)
  const versions = await rowsOf(postgres, 'card_versions', merchant)
  const records = trail.filter((record) => record['action'] === 'card_version.reencrypt')
  assert.equal(records.length, rotation.rows_done)
  assert.equal(new Set(versions.map((version) => version['data_key_id'])).has(old.id), false)
  for (const card of cards) assert.equal((await other.cards.reveal(caller, card.id, 'a test')).number, number)
})

const fingerprintOf = async (vault: TestVault, caller: ReturnType<typeof newCaller>, card: string) =>
  (await keep(vault, caller, card)).fingerprint

/** Visa numbers with a right check digit, as many as there are asked for. */
function testNumbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const digits = `4000${String(index).padStart(11, '0')}`
    const sum = [...digits].reduce((total, digit, place) => {
      const doubled = Number(digit) * (place % 2 === 0 ? 2 : 1)
      return total + (doubled > 9 ? doubled - 9 : doubled)
    }, 0)
    return `${digits}${(10 - (sum % 10)) % 10}`
  })
}

test('SEC-09: fingerprints stay what they are while their key is rotated, for new cards of any process too', async () => {
  const callers = [newCaller(), newCaller()]
  const numbers = testNumbers(40)
  const known = new Map<string, string>()
  const nameOf = (caller: { merchant_id: string }, card: string) => `${caller.merchant_id}|${card}`
  const check = async (vault: TestVault, caller: ReturnType<typeof newCaller>, card: string) => {
    const found = await fingerprintOf(vault, caller, card)
    const name = nameOf(caller, card)
    assert.equal(found, known.get(name) ?? found)
    known.set(name, found)
  }
  for (const caller of callers)
    await Promise.all(numbers.slice(0, 20).map((card) => check(one, caller, card)))
  const before = await one.keyring.fingerprints.current.version
  const key = newId('request')
  const repeated = await keep(one, callers[0]!, numbers[0]!, key)
  let rotating = true
  const traffic = Array.from({ length: 4 }, async (_, lane) => {
    for (let turn = lane; rotating; turn++)
      await check(processes[turn % 2]!, callers[turn % 2]!, numbers[turn % numbers.length]!)
  })
  const rotation = await rotate('fingerprint')
  rotating = false
  await Promise.all(traffic)
  assert.equal(rotation.state, 'finished')
  for (const caller of callers) for (const card of numbers) await check(other, caller, card)
  const { fingerprint_keys } = await one.census.take(callers[0]!.merchant_id, true)
  const counts = new Map(fingerprint_keys!.map((version) => [version.version, version.rows]))
  assert.equal(counts.get(before), 0)
  for (const caller of callers) {
    const rows = await rowsOf(postgres, 'instruments', caller.merchant_id)
    assert.equal(rows.length, numbers.length)
    assert.ok(rows.every((row) => row['fingerprint_key_version'] === before + 1))
  }
  // A request that was hashed with the earlier key is still told from another one.
  assert.deepEqual(await keep(other, callers[0]!, numbers[0]!, key), repeated)
  await assert.rejects(keep(other, callers[0]!, numbers[1]!, key), { code: 'idempotency_key_reused' })
})

test("SEC-35: when its keys are destroyed, a merchant's numbers open nowhere and no new one is kept; others are as before", async () => {
  const [caller, neighbour] = [newCaller(), newCaller()]
  const card = await keep(one, caller, number)
  const theirs = await keep(other, neighbour, number)
  for (const process of processes) await process.cards.reveal(caller, card.id, 'a test')
  const input = { reason: 'the merchant left', approval: newId('approval') }
  const start = (key: string | null) =>
    one.destructions.start(caller, input, key, (destruction) => JSON.stringify(destruction))
  const answer = await start('once')
  assert.equal(answer.status, 202)
  assert.deepEqual(await start('once'), answer)
  await assert.rejects(start(null), { code: 'keys_destroyed' })
  const destroyed = await eventually(async () => {
    const [now] = (await other.destructions.list(caller.merchant_id)).data
    return now?.state === 'destroyed' && now
  })
  assert.equal(destroyed.keys_destroyed, 1)
  const kept = Date.parse(destroyed.backups_expire_at!) - Date.parse(destroyed.destroyed_at!)
  assert.ok(Math.abs(kept - 35 * 86_400_000) < 60_000)
  const fresh = await openProcess()
  const gone = { code: 'keys_destroyed' }
  for (const process of [...processes, fresh]) {
    await assert.rejects(process.cards.reveal(caller, card.id, 'a test'), gone)
    await assert.rejects(keep(process, caller, number), gone)
    assert.equal((await process.cards.get(caller.merchant_id, card.id)).last4, '4242')
    assert.equal((await process.cards.reveal(neighbour, theirs.id, 'a test')).number, number)
  }
  await fresh.stop()
  await assert.rejects(rotate('data', caller.merchant_id), gone)
  const [key] = await rowsOf(postgres, 'data_keys', caller.merchant_id)
  assert.equal(key!['wrapped_key'], null)
  const trail = await rowsOf(postgres, 'audit_records', caller.merchant_id)
  const [certificate, ...more] = trail.filter((record) => record['action'] === 'key.destroyed')
  assert.deepEqual(more, [])
  assert.match(
    String(certificate!['reason']),
    new RegExp(`1 in number; .* expire by ${destroyed.backups_expire_at}`),
  )
})

test('SEC-09: a process that has not heard of the new fingerprint key yet makes no second fingerprint', async () => {
  const caller = newCaller()
  const [first, second] = testNumbers(60).slice(50)
  const known = await fingerprintOf(one, caller, first!)
  // It hears nothing: it is no holder of keys, so nothing waits for it.
  const unaware = await openTestVault(postgres)
  after(() => unaware.keyring.stop())
  const version = unaware.keyring.fingerprints.current.version
  const rotation = rotate('fingerprint')
  const found = await Promise.all(
    Array.from({ length: 64 }, (_, turn) =>
      fingerprintOf([one, other, unaware][turn % 3]!, caller, turn % 2 === 0 ? first! : second!),
    ),
  )
  assert.equal((await rotation).state, 'finished')
  assert.equal(new Set(found).size, 2)
  assert.ok(found.every((fingerprint, turn) => turn % 2 === 1 || fingerprint === known))
  const newest = await Promise.all(
    [unaware, one, other].map((vault) => fingerprintOf(vault, caller, second!)),
  )
  assert.deepEqual(new Set(newest), new Set([found[1]]))
  assert.equal(unaware.keyring.fingerprints.current.version, version + 1)
  assert.equal((await rowsOf(postgres, 'instruments', caller.merchant_id)).length, 2)
})

test('SEC-06: rows that were swapped or cut in SQL never yield another number, and a rotation leaves them and says so', async () => {
  const caller = newCaller()
  const merchant = caller.merchant_id
  const [first, second, third] = await Promise.all(testNumbers(3).map((card) => keep(one, caller, card)))
  const stored = new Map(
    (await rowsOf(postgres, 'card_versions', merchant)).map((row) => [
      row['card_id'],
      row['number_encrypted'],
    ]),
  )
  const put = (card: Card, bytes: unknown) =>
    postgres.query(
      'coffer_vault_migrator',
      'update card_versions set number_encrypted = $3 where merchant_id = $1 and card_id = $2',
      [merchant, card.id, bytes],
    )
  await put(first!, stored.get(second!.id))
  await put(second!, stored.get(first!.id))
  const cut = (stored.get(third!.id) as Buffer).subarray(0, 45)
  await put(third!, cut)
  const reveals = () =>
    Promise.allSettled([first!, second!, third!].map((card) => other.cards.reveal(caller, card.id, 'a test')))
  for (const reveal of await reveals()) assert.equal(reveal.status, 'rejected')
  const rotation = await rotate('data', merchant)
  assert.deepEqual([rotation.state, rotation.errors, rotation.rows_done], ['incomplete', 3, 0])
  for (const reveal of await reveals()) assert.equal(reveal.status, 'rejected')
  const { data_keys } = await one.census.take(merchant, false)
  assert.deepEqual(
    data_keys.map((key) => [key.rows, key.retired_at === null]),
    [
      [3, true],
      [0, true],
    ],
  )
  for (const card of [first!, second!, third!]) await put(card, stored.get(card.id))
  const again = await rotate('data', merchant)
  assert.deepEqual([again.state, again.errors, again.rows_done], ['finished', 0, 3])
  const numbers = await Promise.all(
    [first!, second!, third!].map((card) => one.cards.reveal(caller, card.id, 'a test')),
  )
  assert.deepEqual(
    numbers.map((revealed) => revealed.number),
    testNumbers(3),
  )
})

test('SEC-07: a data key that has had an eighth of its uses is rotated by itself', async () => {
  const caller = newCaller()
  const card = await keep(one, caller, number)
  await postgres.query(
    'coffer_vault_migrator',
    'update data_keys set uses_reserved = 268435457 where merchant_id = $1',
    [caller.merchant_id],
  )
  // A process looks when it starts, and every minute.
  const started = await openProcess()
  const keys = await eventually(async () => {
    const { data_keys } = await started.census.take(caller.merchant_id, false)
    return data_keys[0]!.retired_at !== null && data_keys
  })
  await started.stop()
  assert.deepEqual(
    keys.map((key) => key.rows),
    [0, 1],
  )
  assert.equal((await other.cards.reveal(caller, card.id, 'a test')).number, number)
})

test('SEC-09: after a new wrapping key every key stands under it, and what they encrypted opens as before', async () => {
  const caller = newCaller()
  const card = await keep(one, caller, number)
  await Promise.all(processes.map((process) => process.stop()))
  const next = newRootKey()
  const turned = await openProcess({ wrapping: next, previous: [wrapping] })
  const answer = await turned.rotations.start(caller, true, 'wrapping', null, (rotation) =>
    JSON.stringify(rotation),
  )
  const { id } = JSON.parse(answer.body) as KeyRotation
  // A process that ended was seen a moment ago: the rotation waits for those only that still run.
  const rotation = await eventually(async () => {
    const found = await turned.rotations.get(caller.merchant_id, true, id)
    return found.state !== 'running' && found
  })
  assert.equal(rotation.state, 'finished')
  const { wrapping_keys } = await turned.census.take(caller.merchant_id, true)
  assert.equal(wrapping_keys!.length, 1)
  assert.ok(wrapping_keys![0]!.is_current && wrapping_keys![0]!.rows > 0)
  await turned.stop()
  // The former key is not needed any more.
  const alone = await openProcess({ wrapping: next })
  assert.equal((await alone.cards.reveal(caller, card.id, 'a test')).number, number)
  await alone.stop()
})
