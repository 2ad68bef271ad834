import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { type ApprovalUse, parametersDigest } from '@coffer/core/approvals.ts'
import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import { systemClock } from '@coffer/core/time.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { createApiKeys } from '../api-keys/api-keys.ts'
import { createMerchants } from '../merchants/merchants.ts'
import { createAccessApprovals } from './approvals.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_access_service')
const relayDatabase = postgres.open('coffer_access_relay')
const approvals = createAccessApprovals({ database, decision_minutes: 15, use_minutes: 15 })
const apiKeys = createApiKeys({ database, mode: 'sandbox', clock: systemClock })
const merchants = createMerchants({ database, relayDatabase, clock: systemClock })

const rootCaller = { actor: 'first key', key_id: newId('apiKey'), source_address: '127.0.0.1' }

async function newMerchant(): Promise<string> {
  const caller = { ...rootCaller, merchant_id: newId('merchant'), request_id: newId('request') }
  const { body } = await merchants.create(caller, { name: 'A merchant' }, null, (value) => value.id)
  return body
}

const merchantId = await newMerchant()
const callerAs = (keyId: string, actor: string, merchant = merchantId): Caller => ({
  merchant_id: merchant,
  actor,
  key_id: keyId,
  request_id: newId('request'),
  source_address: '127.0.0.1',
})

/** Somebody who has signed in at the identity provider. */
function person(merchant = merchantId): Caller {
  const id = newId('user')
  return callerAs(id, `user:${id}`, merchant)
}

async function keyMadeBy(maker: Caller, owner: string): Promise<Caller> {
  const manager = { ...maker, scopes: new Set(['approvals', 'admin'] as const) }
  const made = await apiKeys.create(manager, { name: 'A key', owner, scopes: ['approvals', 'admin'] }, null)
  return callerAs(made.id, owner)
}

const wanted = { action: 'export', object_id: 'exp_1', reason: 'moving to another vault' } as const
const parameters = { recipient: 'B', cards: ['card_1', 'card_2'] }
const ask = (caller: Caller, key: string | null = null) =>
  approvals.create(caller, { ...wanted, parameters }, key)
const approve = (caller: Caller, id: string, key: string | null = null) =>
  approvals.decide(caller, id, 'approved', {}, key)

const use = (caller: Caller, id: string, changes: Partial<ApprovalUse> = {}) =>
  approvals.use({
    ...caller,
    approval_id: id,
    action: wanted.action,
    object_id: wanted.object_id,
    parameters_digest: parametersDigest({ cards: parameters.cards, recipient: 'B' }),
    used_for: 'the first time',
    ...changes,
  })

const rowOf = async (id: string) =>
  (await postgres.query('coffer_access_migrator', 'select * from approvals where approval_id = $1', [id]))[0]!

async function trailOf(id: string): Promise<string[]> {
  const text = 'select action, actor, result from audit_records where object_id = $1 order by at, audit_id'
  const rows = await postgres.query('coffer_access_migrator', text, [id])
  return rows.map((row) => `${row['actor']} ${row['action']} ${row['result']}`)
}

const change = (id: string, what: string) =>
  postgres.query('coffer_access_migrator', `update approvals set ${what} where approval_id = $1`, [id])

test('SEC-11: one asks, another approves, the first does it once; both are recorded', async () => {
  const [one, two] = [person(), person()]
  const asked = await ask(one)
  assert.equal(asked.status, 'pending')
  assert.deepEqual(asked.parameters, parameters)
  const approved = await approve(two, asked.id)
  assert.deepEqual([approved.status, approved.decided_by], ['approved', two.actor])
  const used = await use(one, asked.id)
  assert.deepEqual(used, {
    approval_id: asked.id,
    requested_by: one.actor,
    approved_by: two.actor,
    reason: wanted.reason,
  })
  assert.equal((await approvals.get(merchantId, asked.id)).status, 'used')
  // The same operation, interrupted, may use it again; another one may not.
  assert.deepEqual(await use(one, asked.id), used)
  await assert.rejects(use(one, asked.id, { used_for: 'the second time' }), { code: 'approval_used' })
  assert.deepEqual(await trailOf(asked.id), [
    `${one.actor} approval.create done`,
    `${two.actor} approval.approve done`,
    `${one.actor} approval.use done`,
    `${one.actor} approval.use refused`,
  ])
})

test('SEC-11: one actor alone is refused, and so is the same one twice, whichever way they come', async () => {
  const one = person()
  const ownKey = await keyMadeBy(one, 'a machine')
  const keyOfOwnKey = await keyMadeBy(ownKey, 'another machine')
  for (const caller of [one, ownKey, keyOfOwnKey]) {
    const { id } = await ask(caller)
    await assert.rejects(use(caller, id), { code: 'approval_not_granted' })
    await assert.rejects(approve(one, id), { code: 'approval_needs_second_person' })
    await assert.rejects(approve(ownKey, id), { code: 'person_required' })
    await assert.rejects(use(caller, id), { code: 'approval_not_granted' })
    assert.equal((await approvals.get(merchantId, id)).status, 'pending')
    const trail = await trailOf(id)
    assert.ok(trail.includes(`${one.actor} approval.approve refused`), trail.join('\n'))
    assert.ok(trail.includes('a machine approval.approve refused'), trail.join('\n'))
  }
  const { id } = await ask(person())
  await assert.rejects(approve(ownKey, id), { code: 'person_required' })
})

test('SEC-11: the database itself takes no decision of who asked, and no use of what was not approved', async () => {
  const [one, two] = [person(), person()]
  const { id } = await ask(one)
  const approving = (actor: string) =>
    change(id, `decision = 'approved', decided_by = '${actor}', decided_at = now(), use_before = now()`)
  await assert.rejects(approving(one.actor), { code: '23514' })
  await assert.rejects(change(id, `used_at = now(), used_for = 'x'`), { code: '23514' })
  await approving(two.actor)
})

test('SEC-11: an approval is for one action on one object with these parameters by who asked, in time', async () => {
  const [one, two] = [person(), person()]
  const { id } = await ask(one)
  await approve(two, id)
  const foreigner = person(await newMerchant())
  for (const [what, trying] of Object.entries({
    'another action': () => use(one, id, { action: 'unseal' }),
    'another object': () => use(one, id, { object_id: 'exp_2' }),
    'other parameters': () => use(one, id, { parameters_digest: parametersDigest({}) }),
    'the one who approved': () => use(two, id),
    'another merchant': () => use(foreigner, id),
    'an unknown one': () => use(one, newId('approval')),
    'no id': () => use(one, 'appr_x'),
  }))
    await assert.rejects(trying, { code: 'approval_not_granted', param: 'approval' }, what)
  assert.equal((await rowOf(id))['used_at'], null)
  await change(id, 'use_before = now()')
  await assert.rejects(use(one, id), { code: 'approval_not_granted' })
  assert.equal((await approvals.get(merchantId, id)).status, 'expired')
})

test('the first decision counts, nobody decides too late, and what was rejected is not done', async () => {
  const [one, two, three] = [person(), person(), person()]
  const { id } = await ask(one)
  const rejected = await approvals.decide(two, id, 'rejected', { reason: 'not on a Friday' }, null)
  assert.deepEqual([rejected.status, rejected.decision_reason], ['rejected', 'not on a Friday'])
  await assert.rejects(approve(three, id), { code: 'approval_closed' })
  await assert.rejects(use(one, id), { code: 'approval_not_granted' })
  const late = await ask(one)
  await change(late.id, 'approve_before = now()')
  await assert.rejects(approve(two, late.id), { code: 'approval_closed' })
  assert.equal((await approvals.get(merchantId, late.id)).status, 'expired')
})

test('of many that decide, or use it, at once, one does', async () => {
  const [one, ...others] = Array.from({ length: 9 }, () => person())
  const { id } = await ask(one!)
  const decisions = others.map((other, place) =>
    approvals.decide(other, id, place % 2 === 0 ? 'approved' : 'rejected', {}, null),
  )
  const decided = await Promise.allSettled(decisions)
  assert.equal(decided.filter(({ status }) => status === 'fulfilled').length, 1)
  const second = await ask(one!)
  await approve(others[0]!, second.id)
  const uses = await Promise.allSettled(
    others.map((_other, place) => use(one!, second.id, { used_for: `operation ${place}` })),
  )
  const done = uses.flatMap((each, place) => (each.status === 'fulfilled' ? [place] : []))
  assert.equal(done.length, 1)
  assert.equal((await rowOf(second.id))['used_for'], `operation ${done[0]}`)
})

test('the same key gives the first answer again, whatever has become of the approval since', async () => {
  const [one, two] = [person(), person()]
  const [key, decisionKey] = [randomUUID(), randomUUID()]
  const asked = await ask(one, key)
  const decided = await approve(two, asked.id, decisionKey)
  await use(one, asked.id)
  assert.deepEqual(await ask(one, key), asked)
  assert.deepEqual(await approve(two, asked.id, decisionKey), decided)
  const reused = { code: 'idempotency_key_reused' }
  await assert.rejects(approvals.create(one, { ...wanted, reason: 'another' }, key), reused)
  await assert.rejects(approvals.decide(two, asked.id, 'rejected', {}, decisionKey), reused)
  // A refusal keeps no key: with another person it is another request.
  const refusedKey = randomUUID()
  const next = await ask(one)
  await assert.rejects(approve(one, next.id, refusedKey), { code: 'approval_needs_second_person' })
  assert.equal((await approve(two, next.id, refusedKey)).status, 'approved')
})

test('no card number gets into an approval', async () => {
  const number = '4242 4242 4242 4242'
  const refused = (param: string) => ({ code: 'card_number_in_wrong_field', param })
  const asking = (fields: object) => approvals.create(person(), { ...wanted, ...fields }, null)
  await assert.rejects(asking({ reason: `for ${number}` }), refused('reason'))
  await assert.rejects(asking({ object_id: number }), refused('object_id'))
  await assert.rejects(asking({ parameters: { cards: [number] } }), refused('parameters'))
})
