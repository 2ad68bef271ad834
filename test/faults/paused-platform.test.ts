// A platform that stands still (SIGSTOP) past its lease and deadlines and then goes on where it was, while a
// second one has taken over. Time alone does not fence it: what it does late must be refused.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { ForwardResult } from '@coffer/core/internal-api.ts'
import { request } from 'undici'
import { goodNumbers } from '../support/card-numbers.ts'
import {
  checkEverything,
  describeChecked,
  listPayments,
  readLedger,
  untilSettled,
} from '../support/checkers.ts'
import { startVaultGate } from '../support/vault-gate.ts'
import { within } from '../support/within.ts'
import { newMerchant, startCrashRig } from './crash-matrix.ts'

const rig = await startCrashRig({ after })
const { roles, checked } = rig
const boundMs = 60_000

const gate = await startVaultGate({ after }, `http://127.0.0.1:${roles.at.vault.internal_port}`)
await roles.stop('platform')
await roles.start('platform', { VAULT_URL: gate.url })
const merchant = await newMerchant(rig)
await merchant.connect()

test('a platform that stood still past its lease appends nothing; the log has no gap and no event twice', async (t) => {
  const paused = roles.running('platform')!
  const held = gate.hold('back', ({ path }, answer) => path.endsWith('/outbox/take') && isTelling(answer))
  const card = await merchant.tokenize(goodNumbers.visa)
  await within(
    boundMs,
    'no event is taken from the vault',
    held.reached.then(() => true),
  )
  const lease = await leaseNow()
  const appended = await appendedBy('platform')
  paused.signal('SIGSTOP')

  await roles.start('second_platform')
  await within(boundMs, 'the second platform does not take over', () => isLogged(card.id))
  const takenOver = await leaseNow()
  assert.notEqual(takenOver.holder, lease.holder)
  assert.equal(takenOver.fence, lease.fence + 1)

  paused.signal('SIGCONT')
  held.release()
  const refused = () => paused.output().includes('has taken the sequencer over')
  await within(boundMs, 'the append of the one that was paused was not refused', refused)
  assert.equal(await appendedBy('platform'), appended, 'it has appended something')
  assert.deepEqual(await leaseNow(), takenOver)
  await untilSettled(checked, merchant)
  t.diagnostic(`note: ${t.name}; ${describeChecked(await checkEverything(checked, merchant))}`)
})

test('a platform that stood still in the middle of charges sends nothing late and charges nothing twice', async (t) => {
  const paused = roles.running('platform')!
  const card = await merchant.tokenize(goodNumbers.visa)
  const isCharge = (amount: number) => (passage: { path: string; body: string }) =>
    passage.path === '/internal/forwards' && passage.body.includes(`["amount","${amount}"]`)
  const unsent = gate.hold('there', isCharge(3_001))
  const charged = gate.hold('back', isCharge(3_002))
  const charging = Promise.all([
    merchant.charge({ amount: 3_001, card: card.id }),
    merchant.charge({ amount: 3_002, card: card.id }),
  ])
  await within(boundMs, 'the charges do not reach the vault', Promise.all([unsent.reached, charged.reached]))
  paused.signal('SIGSTOP')

  await within(boundMs, 'the second platform does not settle them', async () => (await openAttempts()) === 0)
  paused.signal('SIGCONT')
  unsent.release()
  charged.release()
  const late = JSON.parse(await unsent.answered) as ForwardResult
  assert.equal(late.outcome, 'not_sent', 'the vault sent what the second platform had found never sent')
  await charging
  await untilSettled(checked, merchant)
  const statuses = new Map((await listPayments(merchant)).map(({ amount, status }) => [amount, status]))
  assert.equal(statuses.get(3_001), 'failed')
  assert.equal(statuses.get(3_002), 'captured')
  assert.equal((await readLedger(checked)).filter(({ amount }) => amount === 3_001).length, 0)
  t.diagnostic(`note: ${t.name}; ${describeChecked(await checkEverything(checked, merchant))}`)
})

const isTelling = (answer: string | undefined) => answer?.includes('card.created') ?? false

async function leaseNow(): Promise<{ holder: string; fence: number }> {
  const rows = await checked.query('platform', 'select holder, fence::int as fence from sequencer_leases', [])
  return rows[0] as { holder: string; fence: number }
}

async function isLogged(objectId: string): Promise<boolean> {
  return (await checked.query('platform', 'select from events where object_id = $1', [objectId])).length > 0
}

async function openAttempts(): Promise<number> {
  const text = "select from attempts where state in ('sending', 'pending', 'unknown') and merchant_id = $1"
  return (await checked.query('platform', text, [merchant.merchant_id])).length
}

async function appendedBy(place: 'platform'): Promise<number> {
  const answer = await request(`${roles.at[place].admin_url}/metrics`)
  const text = await answer.body.text()
  const found = /^coffer_events_appended_total (\d+)$/m.exec(text)?.[1]
  assert.ok(found !== undefined, text)
  return Number(found)
}
