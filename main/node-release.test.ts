import assert from 'node:assert/strict'
import { test } from 'node:test'
import { examineNode } from './node-release.ts'

test('SEC-28: a Node that is too old, or gets no more security fixes, is refused; the day is named before it comes', () => {
  const statuses = (today: string, ...versions: string[]) =>
    versions.map((version) => examineNode(version, today).status)
  const before = ['20.19.0', '22.22.0', '24.11.9', '25.9.0']
  assert.deepEqual(statuses('2026-11-22', ...before), ['failed', 'failed', 'failed', 'failed'])
  assert.deepEqual(statuses('2026-11-22', '24.12.0', '26.10.0', '28.0.0'), ['ok', 'ok', 'ok'])
  assert.deepEqual(statuses('2028-04-30', '24.18.0', '26.10.0'), ['warning', 'ok'])
  assert.deepEqual(statuses('2028-05-01', '24.18.0', '26.10.0'), ['failed', 'ok'])
  assert.deepEqual(statuses('2029-05-01', '26.99.0'), ['failed'])
  assert.match(examineNode('24.18.0', '2028-04-01').problem!, /until 2028-04-30/)
})

test('SEC-28: the Node these tests run on is one that a start accepts', () => {
  assert.notEqual(examineNode(process.versions.node, new Date().toISOString().slice(0, 10)).status, 'failed')
})
