// kill -9 of each process in turn, of two, and of all of them, wherever they happen to be, under steady traffic.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { goodNumbers } from '../support/card-numbers.ts'
import { checkEverything, describeChecked, untilSettled } from '../support/checkers.ts'
import type { Merchant } from '../support/retrying-merchant.ts'
import type { Place } from '../support/role-processes.ts'
import { within } from '../support/within.ts'
import { newMerchant, startCrashRig } from './crash-matrix.ts'

const rig = await startCrashRig({ after })
const { roles, checked } = rig

const rounds: Place[][] = [
  ['vault'],
  ['platform'],
  ['simulators'],
  ['access'],
  ['platform', 'simulators'],
  ['access', 'vault', 'platform', 'simulators'],
]
const clientsPerMerchant = 6
const answersBetweenKills = 60
const boundMs = 90_000

test('kill -9 of every process under traffic, the PSP included: both merchants get all they were promised', async (t) => {
  const merchants = [await newMerchant(rig), await newMerchant(rig)]
  for (const merchant of merchants) await merchant.connect()
  const stopping = new AbortController()
  const working = Promise.all(merchants.flatMap((merchant) => clientsOf(merchant, stopping.signal)))
  const failed = working.then(() => assert.ok(stopping.signal.aborted))
  for (const places of rounds) {
    const told = answersOf(merchants)
    const enough = within(boundMs, `no answers before ${places} are killed`, () => {
      return answersOf(merchants) >= told + answersBetweenKills
    })
    await Promise.race([enough, failed])
    await Promise.all(places.map((place) => roles.kill(place)))
    await Promise.all(places.map((place) => roles.start(place)))
  }
  stopping.abort()
  await working
  for (const merchant of merchants) {
    await untilSettled(checked, merchant)
    const seen = describeChecked(await checkEverything(checked, merchant))
    t.diagnostic(`note: ${t.name}; ${seen}`)
  }
})

const answersOf = (merchants: Merchant[]) =>
  merchants.flatMap(({ calls }) => calls).filter(({ told }) => told !== undefined).length

/** Clients that tokenize and charge, one after the other, until told to stop. */
function clientsOf(merchant: Merchant, signal: AbortSignal): Promise<void>[] {
  const numbers = [...Object.values(goodNumbers), '4000000000000002']
  const client = async (_: unknown, first: number) => {
    for (let index = first; !signal.aborted; index += clientsPerMerchant) {
      const card = await merchant.tokenize(numbers[index % numbers.length]!)
      const capture = index % 3 === 0 ? 'manual' : 'automatic'
      await merchant.charge({ amount: 500 + index, card: card.id, capture })
      await delay(20)
    }
  }
  return Array.from({ length: clientsPerMerchant }, client)
}
