// A million encryptions under one key: too many for every run of the tests.

import assert from 'node:assert/strict'
import { createSecretKey, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { seal } from '@coffer/vault/keys/sealed-text.ts'

test('SEC-07: of a million encryptions under a key no two have the same nonce', () => {
  const key = { data_key_id: newId('dataKey'), key: createSecretKey(randomBytes(32)) }
  const nonces = new Set<string>()
  const count = 1_000_000
  for (let index = 0; index < count; index++) nonces.add(seal(key, 'place', '1').toString('latin1', 2, 14))
  assert.equal(nonces.size, count)
})
