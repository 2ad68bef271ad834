import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Approvals } from '@coffer/core/approvals.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { eventually } from '../../test/support/product.ts'
import type { Card } from '../cards/schemas.ts'
import {
  newCaller,
  openTestVault,
  rootKeysOf,
  rowsOf,
  serialize,
  type TestVault,
  testCard,
} from '../test-vault.ts'
import { createCensus } from './census.ts'
import { createDestructions, startDestroying } from './destructions.ts'
import { followKeyNotices } from './key-notices.ts'
import { createLocalKeys } from './local-keys.ts'
import { startRotating } from './rotating.ts'
import type { RotationKind } from './rotation-queries.ts'
import { createRotations } from './rotations.ts'
import type { KeyRotation } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const relayDatabase = postgres.open('coffer_vault_relay')
const { wrapping } = rootKeysOf(postgres)
const number = '4242424242424242'

/** A process of the vault, with everything that belongs to keys. */
async function openProcess(
  options: { wrap?: (database: Database) => Database; rows_per_second?: number } = {},
) {
  const vault = await openTestVault(postgres, options.wrap)
  const wrappingKeys = createLocalKeys(wrapping)
  const { database, keyring } = vault
  const deps = { database, relayDatabase, keyring, wrappingKeys, log: quietLog }
  const notices = await followKeyNotices({ ...deps, wrappingKeyId: () => wrappingKeys.currentId() })
  const destroying = startDestroying({ ...deps, backup_retention_days: 35, clock: systemClock })
  // Access keeps approvals; here stands one that was given.
  const approvals: Approvals = {
    consume: async ({ approval_id }) => ({
      approval_id: approval_id!,
      requested_by: 'ada',
      approved_by: 'grace',
      reason: 'the merchant left',
    }),
  }
  const destructions = createDestructions({ ...deps, approvals, clock: systemClock })
  const rotating = startRotating({
    ...deps,
    holder: notices.holder,
    rows_per_second: options.rows_per_second ?? 100_000,
  })
  const rotations = createRotations({ database, keyring, clock: systemClock })
  const census = createCensus(deps)
  return {
    ...vault,
    rotations,
    census,
    destructions,
    async stop() {
      await Promise.all([rotating.stop(), destroying.stop()])
      await notices.stop()
      await keyring.stop()
    },
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
