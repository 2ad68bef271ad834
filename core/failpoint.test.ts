import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { armFailpoint, failpoint, failpoints } from './failpoint.ts'

test('only a place that exists can be armed', () => {
  for (const place of [
    '',
    'vault',
    'vault.cards.before_commit@0',
    'vault.cards.before_commit@',
    '@1',
    'toString',
  ])
    assert.throws(() => armFailpoint(place), { name: 'RangeError' }, place)
})

test('nothing happens at a place while none, or another one, is armed', () => {
  armFailpoint(undefined)
  for (const name of failpoints) failpoint(name)
  armFailpoint('vault.cards.before_commit')
  failpoint('vault.cards.after_commit')
  armFailpoint(undefined)
})

test('the process ends by SIGKILL the time the place is reached that was asked for, and not before', () => {
  const program = `
    import { armFailpoint, failpoint } from '${import.meta.resolve('./failpoint.ts')}'
    armFailpoint(process.argv[1])
    for (let time = 1; time <= 4; time++) {
      process.getBuiltinModule('node:fs').writeSync(1, String(time))
      failpoint('vault.cards.before_commit')
    }`
  const run = (place: string) => {
    const { stdout, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program, place])
    return { reached: stdout.toString(), signal }
  }
  assert.deepEqual(run('vault.cards.before_commit'), { reached: '1', signal: 'SIGKILL' })
  assert.deepEqual(run('vault.cards.before_commit@3'), { reached: '123', signal: 'SIGKILL' })
  assert.deepEqual(run('vault.cards.before_commit@5'), { reached: '1234', signal: null })
})
