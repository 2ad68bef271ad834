import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startRepeating } from './repeating.ts'

test('a step is run at once, again without a pause where it asks for none, and not after the stop', async () => {
  let runs = 0
  const paused = Promise.withResolvers<void>()
  const repeating = startRepeating(async () => {
    runs++
    if (runs === 3) paused.resolve()
    return runs < 3 ? 0 : 3_600_000
  })
  await paused.promise
  await repeating.stop()
  assert.equal(runs, 3)
})

test('a stop waits for the step that is under way', async () => {
  const begun = Promise.withResolvers<void>()
  const allowed = Promise.withResolvers<void>()
  let ended = false
  const repeating = startRepeating(async () => {
    begun.resolve()
    await allowed.promise
    ended = true
    return 3_600_000
  })
  await begun.promise
  const stopped = repeating.stop()
  assert.equal(ended, false)
  allowed.resolve()
  await stopped
  assert.ok(ended)
})
