// Two processes of each role behind load balancers, as they are run in earnest. One of a pair stands still (SIGSTOP)
// past every lease and goes on where it was, or is killed and does not come back; the other carries the traffic.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { checkEverything, describeChecked, untilSettled } from '../support/checkers.ts'
import { startLoadBalancer } from '../support/load-balancer.ts'
import type { Place } from '../support/role-processes.ts'
import { newMerchant, startCrashRig } from './crash-matrix.ts'
import { startTraffic } from './traffic.ts'

const rig = await startCrashRig({ after })
const { roles, checked } = rig
const { at } = roles

const pairs = {
  access: ['access', 'second_access'],
  vault: ['vault', 'second_vault'],
  platform: ['platform', 'second_platform'],
} as const satisfies Record<string, [Place, Place]>
type Role = keyof typeof pairs

/** A balancer knows of a process that is gone, and not of one that stands still. */
const runningOf = (role: Role) => {
  const running = pairs[role].filter((place) => roles.running(place) !== undefined)
  return running.length > 0 ? running : [pairs[role][0]]
}
const internalOf = (role: Role) =>
  runningOf(role).map((place) => `http://127.0.0.1:${at[place].internal_port}`)
const publicOf = (path: string) =>
  runningOf(/^\/v1\/(payments|events)/.test(path) ? 'platform' : 'vault').map((place) => at[place].url)

const front = await startLoadBalancer({ after }, publicOf)
const addresses = {
  ACCESS_URL: (await startLoadBalancer({ after }, () => internalOf('access'))).url,
  VAULT_URL: (await startLoadBalancer({ after }, () => internalOf('vault'))).url,
}
for (const role of ['access', 'vault', 'platform'] as const) {
  await roles.stop(role)
  await Promise.all(pairs[role].map((place) => roles.start(place, addresses)))
}
const behindFront = { ...checked, urlOf: () => front.url }

/** Longer than the sequencer's lease, a claimed payment's 15 s and every deadline between the roles. */
const pauseMs: Record<Role, number> = { access: 8_000, vault: 12_000, platform: 18_000 }
const answersBetween = 60

test('one of each pair stands still past its lease and goes on: both of a pair may answer, and nothing is done twice', async (t) => {
  const merchants = [await newMerchant(rig, behindFront), await newMerchant(rig, behindFront)]
  for (const merchant of merchants) await merchant.connect()
  const traffic = startTraffic(merchants)
  for (const role of ['access', 'vault', 'platform'] as const) {
    await traffic.answers(answersBetween, `no answers before ${role} stands still`)
    const paused = roles.running(role)!
    paused.signal('SIGSTOP')
    const pause = delay(pauseMs[role])
    await traffic.answers(answersBetween, `no answers while one ${role} stands still`)
    await pause
    paused.signal('SIGCONT')
  }
  await traffic.answers(answersBetween, 'no answers afterwards')
  await traffic.stop()
  for (const merchant of merchants) {
    await untilSettled(behindFront, merchant)
    t.diagnostic(`note: ${t.name}; ${describeChecked(await checkEverything(behindFront, merchant))}`)
  }
})

test('one of each pair is killed and stays away: the other carries on alone', async (t) => {
  const merchant = await newMerchant(rig, behindFront)
  await merchant.connect()
  const traffic = startTraffic([merchant])
  for (const role of ['access', 'vault', 'platform'] as const) {
    await traffic.answers(answersBetween, `no answers before one ${role} is killed`)
    await roles.kill(role)
  }
  await traffic.answers(answersBetween, 'no answers from those that are left')
  await traffic.stop()
  await untilSettled(behindFront, merchant)
  assert.equal(roles.running('platform'), undefined)
  t.diagnostic(`note: ${t.name}; ${describeChecked(await checkEverything(behindFront, merchant))}`)
})
