// Two processes of each role behind load balancers, as they are run in earnest. One of a pair stands still (SIGSTOP)
// past every lease and goes on where it was, is restarted, or is killed for good; the other carries the traffic.

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

/** Not ready any more, and seen to be so. */
const draining = new Set<Place>()

/** A balancer knows of a process that is gone or not ready, and not of one that stands still. */
const runningOf = (role: Role) => {
  const running = pairs[role].filter((place) => roles.running(place) !== undefined && !draining.has(place))
  return running.length > 0 ? running : [pairs[role][0]]
}
const internalOf = (role: Role) =>
  runningOf(role).map((place) => `http://127.0.0.1:${at[place].internal_port}`)
const publicOf = (path: string) =>
  runningOf(/^\/v1\/(payments|events)/.test(path) ? 'platform' : 'vault').map((place) => at[place].url)

const front = await startLoadBalancer({ after }, publicOf)
const settings = {
  COFFER_DRAIN_MS: '500',
  ACCESS_URL: (await startLoadBalancer({ after }, () => internalOf('access'))).url,
  VAULT_URL: (await startLoadBalancer({ after }, () => internalOf('vault'))).url,
}
for (const role of ['access', 'vault', 'platform'] as const) {
  await roles.stop(role)
  await Promise.all(pairs[role].map((place) => roles.start(place, settings)))
}
const behindFront = { ...checked, urlOf: () => front.url }

/** Longer than the sequencer's lease of 5 s; a platform's, longer than the 15 s after which another settles its payments. */
const pauseMs: Record<Role, number> = { access: 6_000, vault: 6_000, platform: 16_000 }
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

test('every process is restarted in turn under traffic: nobody is refused', async (t) => {
  const merchant = await newMerchant(rig, behindFront)
  await merchant.connect()
  merchant.refusals.length = 0
  const traffic = startTraffic([merchant])
  for (const role of ['access', 'vault', 'platform'] as const)
    for (const place of pairs[role]) {
      await traffic.answers(answersBetween, `no answers before ${place} is restarted`)
      const stopping = roles.stop(place)
      draining.add(place)
      await stopping
      await roles.start(place, settings)
      draining.delete(place)
    }
  await traffic.answers(answersBetween, 'no answers afterwards')
  await traffic.stop()
  assert.deepEqual(merchant.refusals, [])
  await untilSettled(behindFront, merchant)
  t.diagnostic(`note: ${t.name}; ${describeChecked(await checkEverything(behindFront, merchant))}`)
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
