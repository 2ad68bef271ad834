import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freePort } from './free-port.ts'

test('a port is given once, also to those that ask at the same time and have not begun to listen', async () => {
  const ports = await Promise.all(Array.from({ length: 250 }, freePort))
  assert.equal(new Set(ports).size, ports.length)
})
