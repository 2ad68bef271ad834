import assert from 'node:assert/strict'
import { test } from 'node:test'
import pg from 'pg'
import { createLog, type LogFields } from './log.ts'
import { logDetectorHits } from './metrics.ts'

const number = '4242424242424242'

function logged(fields: LogFields, message = 'a message'): Record<string, unknown> {
  const lines: string[] = []
  const log = createLog({ level: 'debug', destination: { write: (line) => lines.push(line) } })
  log.info(fields, message)
  assert.equal(lines.length, 1)
  return JSON.parse(lines[0]!)
}

test('a field that is not on the list does not reach the log', () => {
  const line = logged({
    card_id: 'card_x',
    number,
    body: { number },
    merchant_id: 'mer_1',
    count: 3,
    state: undefined,
  })
  assert.deepEqual(Object.keys(line).sort(), ['count', 'level', 'merchant_id', 'msg', 'time'])
})

test('SEC-19: a card number in any field, message, error or child is masked', () => {
  const error = Object.assign(
    new TypeError(`cannot read ${number}`, { cause: new Error(`near ${number}`) }),
    { code: number },
  )
  const lines: string[] = []
  const log = createLog({ level: 'debug', destination: { write: (line) => lines.push(line) } })
  const child = log.child({ request_id: number, route: `/v1/cards/${number}` })
  for (const level of ['debug', 'info', 'warn', 'error'] as const)
    child[level](
      { reason: `was 4242 4242 4242 4242`, count: Number(number), sequence: BigInt(number), error },
      `of ${number}`,
    )
  assert.equal(lines.length, 4)
  assert.doesNotMatch(lines.join(''), /4242/)
})

test('SEC-19: what is masked is counted, so that nobody has to find it', async () => {
  const hits = async () => (await logDetectorHits.get()).values[0]!.value
  const before = await hits()
  logged({ reason: 'nothing here', count: 17 })
  assert.equal(await hits(), before)
  logged({ reason: `was ${number}`, route: `/v1/cards/${number}` }, `of ${number}`)
  assert.equal(await hits(), before + 3)
})

test('objects and lists are dropped, even in a field on the list', () => {
  const line = logged({ reason: { number }, url: [number], status: () => number, tries: true, port: null })
  assert.deepEqual([line['reason'], line['url'], line['status']], ['[dropped]', '[dropped]', '[dropped]'])
  assert.deepEqual([line['tries'], line['port']], [true, null])
})

test("a PostgreSQL error's detail, which holds row values, is not told", () => {
  const error = new pg.DatabaseError('duplicate key value violates unique constraint "x"', 1, 'error')
  Object.assign(error, {
    code: '23505',
    detail: 'Key (name)=(canary) exists.',
    where: 'canary',
    hint: 'canary',
  })
  const line = logged({ error })
  assert.equal(line['error_code'], '23505')
  assert.ok(!JSON.stringify(line).includes('canary'))
})

test('something thrown that is no error is told by its type only', () => {
  assert.equal(logged({ error: `thrown ${number}` })['error_name'], 'string')
  assert.equal(logged({ error: null })['error_name'], 'object')
})
