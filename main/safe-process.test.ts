import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ProcessFacts, processProblems } from './safe-process.ts'
import { hardening_flags } from './server-flags.mjs'

const safe: ProcessFacts = {
  node_version: '26.10.0',
  today: '2026-11-22',
  flags: hardening_flags,
  node_options: undefined,
  debugger_url: undefined,
  limits: 'Max core file size        0                    0                    bytes     \n',
}

test('SEC-28, SEC-29: a live process that could be debugged, dumped or steered from outside is not started', () => {
  assert.deepEqual(processProblems('live', safe), [])
  const unsafe: [Partial<ProcessFacts>, RegExp][] = [
    [{ node_version: '20.19.0' }, /^Node 20\.19\.0 is older/],
    [{ flags: hardening_flags.slice(1) }, /without --disable-proto=delete$/],
    [{ flags: [] }, /--disable-sigusr1/],
    [{ node_options: '' }, /NODE_OPTIONS/],
    [{ debugger_url: 'ws://127.0.0.1:9229/1' }, /debugger/],
    [{ limits: 'Max core file size        0                    unlimited            bytes' }, /dumped/],
  ]
  for (const [facts, expected] of unsafe) {
    const problems = processProblems('live', { ...safe, ...facts })
    assert.equal(problems.length, 1)
    assert.match(problems[0]!, expected)
  }
  assert.deepEqual(processProblems('live', { ...safe, limits: undefined }), [])
})

test('SEC-28: a sandbox, too, is refused on a Node that gets no fixes, and on nothing else', () => {
  assert.deepEqual(processProblems('sandbox', { ...safe, flags: [], node_options: '--inspect' }), [])
  assert.equal(processProblems('sandbox', { ...safe, node_version: '22.1.0' }).length, 1)
})
