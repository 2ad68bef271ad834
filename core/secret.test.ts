import assert from 'node:assert/strict'
import { Console } from 'node:console'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { format, inspect } from 'node:util'
import { createLog } from './log.ts'
import { Secret } from './secret.ts'

const value = 'sk_test_canary_that_must_not_show'
const secret = new Secret(value)

test('SEC-33: a secret shows itself in no way a value reaches a text by accident', () => {
  const holder = { secret, list: [secret], map: new Map([['a', secret]]) }
  const texts = [
    String(secret),
    `${secret}`,
    '' + secret,
    [secret].join(),
    JSON.stringify(secret),
    JSON.stringify(holder),
    inspect(secret),
    inspect(holder, { depth: 9, showHidden: true, getters: true }),
    inspect(secret, { customInspect: false, showHidden: true, depth: 9 }),
    format('%s %o %O %j %d', secret, secret, secret, secret, secret),
    JSON.stringify({ ...secret }),
    JSON.stringify(Object.entries(secret)),
    JSON.stringify(structuredClone({ secret })),
    String(new Error(`about ${secret}`, { cause: secret }).stack),
    inspect(new Error('about', { cause: secret })),
  ]
  for (const text of texts) assert.ok(!text.includes('canary'), text)
})

test('a secret does not reach the console or a log', () => {
  const written: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk))
      done()
    },
  })
  const console = new Console(stream, stream)
  console.log(secret, { secret })
  console.error('%s', secret)
  console.dir(secret, { showHidden: true })
  console.table([{ secret }])
  const log = createLog({ level: 'debug', destination: stream })
  log.info({ secret, reason: secret, error: new Error(`with ${secret}`) }, `a message with ${secret}`)
  assert.ok(written.length >= 4)
  assert.ok(!written.join('').includes('canary'), written.join(''))
})

test('the value comes out only by asking for it', () => {
  assert.equal(secret.expose(), value)
  const bytes = Buffer.from('a key')
  assert.equal(new Secret(bytes).expose(), bytes)
})
