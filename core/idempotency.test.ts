import assert from 'node:assert/strict'
import { createSecretKey, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { bodyHmac, canonical, optionalIdempotencyKeyOf, requiredIdempotencyKeyOf } from './idempotency.ts'

const json = fc.jsonValue({ maxDepth: 3 })

/** The same value with the members of every object in another order. */
function shuffled(value: unknown, order: number): unknown {
  if (Array.isArray(value)) return value.map((item) => shuffled(item, order))
  if (value === null || typeof value !== 'object') return value
  const members = Object.entries(value).map(([name, member]) => [name, shuffled(member, order)] as const)
  const turned = members.length === 0 ? 0 : order % members.length
  return Object.fromEntries([...members.slice(turned), ...members.slice(0, turned)].reverse())
}

const withKey = (key: unknown) => ({ headers: key === undefined ? {} : { 'idempotency-key': key } })

test('the order of members does not matter to the canonical text, at any depth', () => {
  fc.assert(
    fc.property(json, fc.nat(), (value, order) => {
      assert.equal(canonical(shuffled(value, order)), canonical(value))
    }),
  )
})

test('the canonical text is JSON of the same value, so different values differ', () => {
  fc.assert(
    fc.property(json, json, (left, right) => {
      const plain = (value: unknown) => JSON.parse(JSON.stringify(value))
      assert.deepEqual(JSON.parse(canonical(left)), plain(left))
      if (canonical(left) === canonical(right)) assert.ok(isDeepStrictEqual(plain(left), plain(right)))
    }),
  )
})

test('a member that is undefined counts as absent; one that is null does not', () => {
  assert.equal(canonical({ a: 1, b: undefined }), canonical({ a: 1 }))
  assert.notEqual(canonical({ a: 1, b: null }), canonical({ a: 1 }))
  assert.notEqual(canonical({ a: '1' }), canonical({ a: 1 }))
})

test('SEC-05: the hash of a body depends on its key', () => {
  const [one, other] = [createSecretKey(randomBytes(32)), createSecretKey(randomBytes(32))]
  const body = { number: 'n', exp_month: 1 }
  assert.deepEqual(bodyHmac(one, body), bodyHmac(one, { exp_month: 1, number: 'n' }))
  assert.notDeepEqual(bodyHmac(one, body), bodyHmac(other, body))
  assert.notDeepEqual(bodyHmac(one, body), bodyHmac(one, { ...body, exp_month: 2 }))
  assert.equal(bodyHmac(one, body).length, 32)
})

test('a key is the same with and without the quotes of the IETF draft', () => {
  const keys = fc
    .string({
      unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
      minLength: 1,
      maxLength: 20,
    })
    .filter((key) => !key.includes('"'))
  fc.assert(
    fc.property(keys, (key) => {
      assert.equal(requiredIdempotencyKeyOf(withKey(key)), key)
      assert.equal(requiredIdempotencyKeyOf(withKey(`"${key}"`)), key)
    }),
  )
  assert.equal(requiredIdempotencyKeyOf(withKey('k'.repeat(255)))?.length, 255)
})

test('a malformed key is refused, a missing one only where it is required', () => {
  for (const header of [
    '',
    '""',
    'a b',
    'a"b',
    '"a',
    'é',
    'a\nb',
    'k'.repeat(256),
    `"${'k'.repeat(256)}"`,
    ['a', 'b'],
  ])
    assert.throws(
      () => optionalIdempotencyKeyOf(withKey(header)),
      { code: 'idempotency_key_invalid' },
      String(header),
    )
  assert.throws(() => requiredIdempotencyKeyOf(withKey(undefined)), { code: 'idempotency_key_required' })
  assert.equal(optionalIdempotencyKeyOf(withKey(undefined)), null)
})

test('SEC-03: a card number is no idempotency key, because keys are stored as they are', () => {
  for (const key of ['4242424242424242', 'order-4242-4242-4242-4242', '"5555555555554444"'])
    assert.throws(() => optionalIdempotencyKeyOf(withKey(key)), {
      code: 'card_number_in_wrong_field',
      param: 'Idempotency-Key',
    })
})
