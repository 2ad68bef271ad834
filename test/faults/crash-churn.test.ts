// kill -9 of each process in turn, of two, and of all of them, wherever they happen to be, under steady traffic.

import { after, test } from 'node:test'
import { checkEverything, describeChecked, untilSettled } from '../support/checkers.ts'
import type { Place } from '../support/role-processes.ts'
import { newMerchant, startCrashRig } from './crash-matrix.ts'
import { startTraffic } from './traffic.ts'

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
const answersBetweenKills = 60

test('kill -9 of every process under traffic, the PSP included: both merchants get all they were promised', async (t) => {
  const merchants = [await newMerchant(rig), await newMerchant(rig)]
  for (const merchant of merchants) await merchant.connect()
  const traffic = startTraffic(merchants)
  for (const places of rounds) {
    await traffic.answers(answersBetweenKills, `no answers before ${places} are killed`)
    await Promise.all(places.map((place) => roles.kill(place)))
    await Promise.all(places.map((place) => roles.start(place)))
  }
  await traffic.stop()
  for (const merchant of merchants) {
    await untilSettled(checked, merchant)
    const seen = describeChecked(await checkEverything(checked, merchant))
    t.diagnostic(`note: ${t.name}; ${seen}`)
  }
})
