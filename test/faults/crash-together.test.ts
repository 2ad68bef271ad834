// Vault and platform die together, in the middle of several charges at once.

import { after, test } from 'node:test'
import { charging, crashesOf, nameOf, startCrashRig, tryCrash } from './crash-matrix.ts'

const rig = await startCrashRig({ after })

// Three charges pass a place that both steps pass six times; by the fifth, a step that moves money is among them.
for (const crash of crashesOf(5)) {
  test(`vault and platform killed at ${nameOf(crash)}: nothing is lost, nothing is charged twice`, async (t) => {
    const seen = await tryCrash(rig, crash, ['vault', 'platform'], charging(3))
    t.diagnostic(`note: ${t.name}; ${seen}`)
  })
}
