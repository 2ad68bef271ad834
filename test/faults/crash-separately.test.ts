// One process dies, the others go on: the vault or the platform, at every place a crash can be told apart.

import { after, test } from 'node:test'
import { charging, crashesOf, nameOf, startCrashRig, tryCrash } from './crash-matrix.ts'

const rig = await startCrashRig({ after })

for (const crash of crashesOf(2)) {
  test(`the ${crash.place} killed at ${nameOf(crash)}: nothing is lost, nothing is charged twice`, async (t) => {
    const seen = await tryCrash(rig, crash, [crash.place], charging(1))
    t.diagnostic(`note: ${t.name}; ${seen}`)
  })
}
