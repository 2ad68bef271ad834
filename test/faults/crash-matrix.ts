/**
 * One SIGKILL at every place there is a failpoint, before and after each effect of tokenizing and charging. The
 * list of places is the product's own, so a new one is tried as well, and one that is not reached fails.
 */
import assert from 'node:assert/strict'
import { type Failpoint, failpoints } from '@coffer/core/failpoint.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import {
  type Checked,
  checkEverything,
  describeChecked,
  setFaults,
  untilSettled,
} from '../support/checkers.ts'
import type { Scope } from '../support/postgres.ts'
import {
  createMerchantKey,
  type Merchant,
  type Reached,
  retryingMerchant,
} from '../support/retrying-merchant.ts'
import {
  type Place,
  type RoleProcesses,
  type RoleProcessesOptions,
  startRoleProcesses,
} from '../support/role-processes.ts'
import { within } from '../support/within.ts'

export type Crash = {
  failpoint: Failpoint
  /** Which time the place is reached. */
  hit: number
  /** What is killed by itself at the place, and what with it. */
  place: 'vault' | 'platform'
}

/** A charge passes these at each of its two steps; the second is the one that moves money. */
const passedByEachStep: readonly string[] = [
  'vault.forward.before_record',
  'vault.forward.after_record',
  'vault.forward.after_answer',
  'vault.forward.after_result',
  'platform.attempt.before_step',
  'platform.attempt.after_step_answer',
]

/** Places that only captures, cancels and refunds pass; crash-operations tries them. */
export const operationPlaces = failpoints.filter((name) => /^platform\.operation\.|_operation$/.test(name))

/** Places that charges do not pass; crash-tokens tries them. */
export const tokenPlaces = failpoints.filter((name) => name.startsWith('vault.tokens.'))

/** Those of rotations of keys: in crash-rotations. */
export const rotationPlaces = failpoints.filter((name) => name.startsWith('vault.rotation.'))

/** Places that only changes of cards pass; crash-card-changes tries them. */
export const cardChangePlaces = failpoints.filter((name) => name.startsWith('vault.card_changes.'))

/** Those of batches of payments: in batch-kill. */
const batchPlaces = failpoints.filter((name) => name.startsWith('platform.batch.'))

/** Those of files that go in and out: in import-kill. */
const transferPlaces = failpoints.filter((name) => /^vault\.(import|export)\./.test(name))

/** Those of the sealer of any zone: in crash-audit. */
export const auditPlaces = failpoints.filter((name) => name.startsWith('core.audit.'))

/** Between two attempts of a payment: in crash-failover. */
export const failoverPlaces = failpoints.filter((name) => name.startsWith('platform.failover.'))

/** Of what PSPs tell: in crash-webhooks. */
export const webhookPlaces = failpoints.filter((name) => name.startsWith('platform.webhook.'))

/** Those of retries by themselves: in retry-kill. */
export const retryPlaces = failpoints.filter((name) => name.startsWith('platform.retry.'))

const triedElsewhere = [
  ...webhookPlaces,
  ...[...batchPlaces, ...operationPlaces, ...tokenPlaces, ...rotationPlaces],
  ...[...cardChangePlaces, ...transferPlaces, ...auditPlaces],
  ...[...failoverPlaces, ...retryPlaces],
]

/** @param secondHit by which time the place is reached in a step that moves money. */
export function crashesOf(secondHit: number): Crash[] {
  const places = failpoints.filter((failpoint) => !triedElsewhere.includes(failpoint))
  return places.flatMap((failpoint): Crash[] => {
    const zone = failpoint.split('.')[0]
    assert.ok(zone === 'vault' || zone === 'platform', `${failpoint}: no role of that name is killed here`)
    const first: Crash = { failpoint, hit: 1, place: zone }
    return passedByEachStep.includes(failpoint) ? [first, { ...first, hit: secondHit }] : [first]
  })
}

export const nameOf = ({ failpoint, hit }: Crash) => (hit === 1 ? failpoint : `${failpoint}, time ${hit}`)

export type CrashRig = { scope: Scope; roles: RoleProcesses; checked: Checked }

export async function startCrashRig(scope: Scope, options?: RoleProcessesOptions): Promise<CrashRig> {
  const roles = await startRoleProcesses(scope, options)
  const checked: Checked = {
    urlOf: roles.urlOf,
    simulator_url: roles.simulator_url,
    query: (zone, text, values) => roles.postgres.query('postgres', text, values, zone),
  }
  return { scope, roles, checked }
}

/** @param reached where its requests go, if not straight to the roles. */
export async function newMerchant({ scope, roles }: CrashRig, reached: Reached = roles): Promise<Merchant> {
  const key = await createMerchantKey(
    roles.postgres.url('coffer_access_service'),
    roles.postgres.url('coffer_access_relay'),
  )
  return retryingMerchant(scope, reached, key)
}

/** What a merchant does while the crash comes. */
export type Scenario<Prepared> = {
  /** Of the merchant's account at the PSP. */
  settings?: Record<string, string>
  /** Which of the PSP's answers are lost. */
  fault: object
  /** Before the place that is to crash is armed. */
  prepare(merchant: Merchant): Promise<Prepared>
  traffic(merchant: Merchant, prepared: Prepared, crashed: Promise<unknown>): Promise<unknown>
}

/** Kills `killed` when `crash` is reached, starts them again, and checks everything once all has come to rest. */
export async function tryCrash<Prepared>(
  rig: CrashRig,
  crash: Crash,
  killed: readonly Place[],
  scenario: Scenario<Prepared>,
): Promise<string> {
  const { roles, checked } = rig
  await roles.startMissing()
  await setFaults(checked, scenario.fault)
  const merchant = await newMerchant(rig)
  await merchant.connect(scenario.settings)
  const prepared = await scenario.prepare(merchant)
  await untilSettled(checked, merchant)

  await roles.stop(crash.place)
  const armed = await roles.start(crash.place, { COFFER_FAILPOINT: `${crash.failpoint}@${crash.hit}` })
  const working = scenario.traffic(merchant, prepared, armed.exited)
  working.catch(() => {}) // looked at below, where the crash has been seen
  const notReached = () => `${nameOf(crash)} was not reached:\n${armed.output()}`
  const exit = await within(60_000, notReached, armed.exited)
  assert.equal(exit.signal, 'SIGKILL', armed.output())
  await Promise.all(killed.map((place) => roles.kill(place)))
  await Promise.all(killed.map((place) => roles.start(place)))
  await working
  await untilSettled(checked, merchant)
  return describeChecked(await checkEverything(checked, merchant))
}

/**
 * Passes every place: cards at once, then charges that begin agreements at once, then one that the PSP carries out and never answers, for
 * the resolver. That one does not wait for charges which the crash has caught.
 */
export function charging(charges: number): Scenario<unknown> {
  return {
    fault: { kind: 'hang_after', times: 1, match: { card_last4: '4444' } },
    prepare: (merchant) => merchant.tokenize(goodNumbers.discover),
    async traffic(merchant, _prepared, crashed) {
      const { visa, amex, mastercard } = goodNumbers
      const numbers = [visa, amex, '4000000000009995', mastercard]
      const cards = await Promise.all(numbers.map((number) => merchant.tokenize(number)))
      const charging = cards.slice(0, charges).map((card, index) => {
        const capture = index % 2 === 0 ? 'automatic' : 'manual'
        return merchant.charge({ amount: 1_000 + index, card: card.id, capture, usage: 'subscription' })
      })
      const charged = Promise.all(charging)
      await Promise.race([charged, crashed])
      await Promise.all([
        charged,
        merchant.charge({ amount: 2_000, card: cards.at(-1)!.id, usage: 'subscription' }),
      ])
    },
  }
}
