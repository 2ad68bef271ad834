import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inRequest, requestFields, traceparentToPassOn } from './trace.ts'

const trace_id = '0af7651916cd43dd8448eb211c80319c'
const request_id = 'req_1'
const within = (traceparent?: string | string[]) =>
  inRequest({ request_id, traceparent }, () => ({ fields: requestFields(), passed: traceparentToPassOn()! }))

test('a good traceparent is taken, and passed on with another parent and the flag we know', () => {
  for (const [header, flags] of [
    [`00-${trace_id}-b7ad6b7169203331-01`, '01'],
    [`00-${trace_id}-b7ad6b7169203331-00`, '00'],
    [`00-${trace_id}-b7ad6b7169203331-ff`, '01'],
    [`01-${trace_id}-b7ad6b7169203331-03-more`, '01'],
  ] as const) {
    const { fields, passed } = within(header)
    assert.deepEqual(fields, { request_id, trace_id })
    assert.match(passed, new RegExp(`^00-${trace_id}-[0-9a-f]{16}-${flags}$`))
    assert.doesNotMatch(passed, /b7ad6b7169203331/)
  }
})

test('any other traceparent is passed over, and a trace begun', () => {
  const bad = [
    undefined,
    '',
    'x',
    `00-${trace_id}-b7ad6b7169203331`,
    `ff-${trace_id}-b7ad6b7169203331-01`,
    `00-${trace_id}-b7ad6b7169203331-01-more`,
    `00-${trace_id.toUpperCase()}-b7ad6b7169203331-01`,
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `00-${trace_id}-${'0'.repeat(16)}-01`,
    `00-${trace_id}-b7ad6b7169203331-01\n`,
    [`00-${trace_id}-b7ad6b7169203331-01`, `00-${trace_id}-b7ad6b7169203331-01`],
  ]
  for (const header of bad) {
    const { fields, passed } = within(header)
    assert.match(fields.trace_id!, /^[0-9a-f]{32}$/)
    assert.notEqual(fields.trace_id, trace_id)
    assert.equal(passed.split('-')[1], fields.trace_id)
  }
})

test('SEC-19: a card number in a trace id is passed over, wherever it stands between other digits', () => {
  const number = '4242424242424242'
  for (let before = 0; before <= 16; before++)
    for (const filling of ['0', '7', 'a']) {
      const id = `${filling.repeat(before)}${number}${filling.repeat(16 - before)}`
      assert.notEqual(within(`00-${id}-b7ad6b7169203331-01`).fields.trace_id, id)
    }
})

test('a trace is begun once for a request, and is unknown outside of it', async () => {
  await inRequest({ request_id, traceparent: undefined }, async () => {
    const first = requestFields().trace_id
    await Promise.resolve()
    assert.equal(requestFields().trace_id, first)
  })
  assert.deepEqual(requestFields(), {})
  assert.equal(traceparentToPassOn(), undefined)
})
