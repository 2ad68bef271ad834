import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LoadPart } from './load.ts'
import { parseStat } from './measure.ts'
import { summarize } from './percentiles.ts'
import { ownTime } from './results.ts'

function openPart(attempts: [string, number][]): LoadPart & { answers: number } {
  const latency_ms = summarize(attempts.map(([, ms]) => ms))
  const requests = attempts.length
  const shared = { requests, requests_per_second: requests, answers: requests, errors: 0, error_kinds: [] }
  return { scenario: 'payment', latency_ms, attempts, ...shared }
}

test('a payment is charged only for the time it did not spend in the simulator', () => {
  const part = openPart([
    ['att_1', 10],
    ['att_2', 110],
  ])
  const attempts: [string, number][] = [
    ['att_1', 4],
    ['att_2', 100],
  ]
  const own = ownTime(part, { requests: 4, request_ms_total: 104, requests_unnamed: 0, attempts })
  assert.equal(own.method, 'per payment')
  assert.equal(own.own_ms.p99, 10)
  assert.equal(own.simulator_ms_mean, 52)
  assert.equal(own.simulator_requests_per_payment, 2)
})

test('payments that cannot be matched with the simulator give an estimate, and it is called so', () => {
  const part = openPart([
    ['att_1', 10],
    ['att_2', 110],
  ])
  const own = ownTime(part, { requests: 4, request_ms_total: 8, requests_unnamed: 4, attempts: [] })
  assert.equal(own.method, 'estimated')
  assert.equal(own.own_ms.p99, 106)
})

test('a process name with blanks and brackets does not shift the fields after it', () => {
  const line = '42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7'
  assert.deepEqual(parseStat(line), { parent: 7, command: 'a) b (c', cpu_us: 1_240_000 })
})
