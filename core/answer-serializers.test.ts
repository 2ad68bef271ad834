import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { serializerFor } from './answer-serializers.ts'

const orNull = <Part extends Parameters<typeof Type.Union>[0][number]>(part: Part) =>
  Type.Union([part, Type.Null()])

const answer = Type.Object({
  id: Type.String(),
  text: orNull(Type.String()),
  at: orNull(Type.String({ format: 'date-time' })),
  count: orNull(Type.Integer()),
  flag: Type.Optional(orNull(Type.Boolean())),
  part: orNull(Type.Object({ known: Type.String(), inner: orNull(Type.Array(Type.String())) })),
  names: orNull(Type.Record(Type.String(), Type.String())),
  state: orNull(Type.Union([Type.Literal('open'), Type.Literal('shut')])),
  always: orNull(Type.Literal('this')),
  either: Type.Union([Type.Object({ a: Type.String() }), Type.Array(Type.Integer())]),
})

const filled = {
  id: 'id_1',
  text: 'a "text"',
  at: '2026-01-01T00:00:00.000Z',
  count: 0,
  flag: false,
  part: { known: 'k', inner: ['x', 'y'] },
  names: { one: '1' },
  state: 'open',
  always: 'this',
  either: [1, 2],
}

const empty = {
  id: 'id_2',
  text: null,
  at: null,
  count: null,
  flag: null,
  part: null,
  names: null,
  state: null,
  always: null,
  either: { a: '' },
}

test('what may be null is written as it is, and as null', () => {
  const serialize = serializerFor(answer)
  for (const value of [filled, empty, { ...filled, part: { known: 'k', inner: null } }])
    assert.deepEqual(JSON.parse(serialize(value)), value)
  const { flag: _left, ...without } = filled
  assert.deepEqual(JSON.parse(serialize(without)), without)
})

test('a field that the schema does not name is left out, also of what may be null', () => {
  const part = { ...filled.part, number: '4242424242424242' }
  const answered = JSON.parse(serializerFor(answer)({ ...filled, part, number: '4242424242424242' }))
  assert.deepEqual(answered, filled)
})

test('what a required field needs and a choice does not allow is refused', () => {
  const serialize = serializerFor(answer)
  const { text: _text, ...without } = filled
  assert.throws(() => serialize(without), /"text" is required/)
  assert.throws(() => serialize({ ...filled, state: 'ajar' }))
  assert.throws(() => serialize({ ...filled, either: 'neither' }))
})

test('two schemas that say the same have one function', () => {
  const sameAgain = JSON.parse(JSON.stringify(answer))
  assert.equal(serializerFor(sameAgain), serializerFor(answer))
  assert.notEqual(serializerFor(Type.Object({ id: Type.String() })), serializerFor(answer))
})

test('the schema that was given stays as it was: the contract is made from it', () => {
  const before = JSON.stringify(answer)
  serializerFor(answer)
  assert.equal(JSON.stringify(answer), before)
})
