import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  ConfigError,
  integer,
  networks,
  oneOf,
  optionalSecret,
  optionalText,
  readConfig,
  secret,
  text,
  url,
} from './config.ts'

const folder = mkdtempSync(join(tmpdir(), 'coffer-config-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const table = {
  NAME: text('a name'),
  COLOUR: oneOf('a colour', ['red', 'green'], 'green'),
  COUNT: integer('how many', { min: 2, max: 10 }),
  KEY: secret('a key'),
  ADDRESS: url('an address', 'http://127.0.0.1:1/'),
  NOTE: optionalText('a note'),
  SPARE: optionalSecret('a spare key'),
}
const right = { NAME: 'n', COUNT: '7', KEY: 'k-secret' }

function problemsOf(environment: Record<string, string | undefined>): string {
  try {
    readConfig(table, environment)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.message
  }
  throw new Error('the configuration was accepted')
}

test('values are parsed, what may be left out has its fallback, and other variables do not matter', () => {
  const config = readConfig(table, { ...right, PATH: '/bin', COLOUR: 'red', ADDRESS: 'https://psp.example/' })
  assert.equal(config.NAME, 'n')
  assert.equal(config.COLOUR, 'red')
  assert.equal(config.COUNT, 7)
  assert.equal(config.KEY.expose(), 'k-secret')
  assert.equal(config.ADDRESS, 'https://psp.example')
  assert.equal(config.NOTE, undefined)
  assert.equal(config.SPARE, undefined)
  assert.ok(!('PATH' in config))
  assert.equal(readConfig(table, right).COLOUR, 'green')
})

test('everything that is missing or wrong is named at once', () => {
  const message = problemsOf({ COLOUR: 'blue', COUNT: '11', ADDRESS: 'nowhere' })
  assert.match(message, /NAME \(or NAME_FILE\) is not set: a name/)
  assert.match(message, /KEY \(or KEY_FILE\) is not set/)
  assert.match(message, /COLOUR: must be one of red, green/)
  assert.match(message, /COUNT: must be a whole number from 2 to 10/)
  assert.match(message, /ADDRESS: must be an absolute URL/)
})

test('a required setting that is empty counts as missing', () => {
  assert.match(problemsOf({ ...right, KEY: '' }), /KEY is empty/)
  assert.match(problemsOf({ ...right, NAME: '' }), /NAME is empty/)
})

test('a number is a whole number within its bounds and nothing else', () => {
  for (const value of ['1', '11', '-2', '2.5', '1e1', '0x5', ' 5', 'five', 'Infinity'])
    assert.match(problemsOf({ ...right, COUNT: value }), /COUNT: must be a whole number/)
})

test('a value may come from a file, without the line end behind it', () => {
  const file = join(folder, 'key')
  writeFileSync(file, 'from a file\n')
  const { KEY: _direct, ...others } = right
  assert.equal(readConfig(table, { ...others, KEY_FILE: file }).KEY.expose(), 'from a file')
})

test('a file that is not there, one that is empty, and a value given twice stop the start', () => {
  const { KEY: _direct, ...others } = right
  const empty = join(folder, 'empty')
  writeFileSync(empty, '\n')
  assert.match(problemsOf({ ...others, KEY_FILE: join(folder, 'absent') }), /KEY: ENOENT/)
  assert.match(problemsOf({ ...others, KEY_FILE: empty }), /KEY is empty/)
  assert.match(problemsOf({ ...right, KEY_FILE: empty }), /KEY: set it or KEY_FILE, not both/)
})

test('SEC-33: a problem never repeats a value', () => {
  const canary = 'canary-in-the-configuration'
  const wrong = {
    NAME: canary,
    KEY: canary,
    KEY_FILE: join(folder, 'x'),
    COLOUR: canary,
    COUNT: canary,
    ADDRESS: canary,
  }
  assert.ok(!problemsOf(wrong).includes(canary))
})

test('a list of networks holds addresses and networks, and nothing that is neither', () => {
  const table = { PROXIES: networks('proxies') }
  const read = (text: string) => readConfig(table, { PROXIES: text }).PROXIES
  assert.deepEqual(read('10.0.0.0/8, 192.0.2.1,2001:db8::/32'), ['10.0.0.0/8', '192.0.2.1', '2001:db8::/32'])
  assert.deepEqual([readConfig(table, {}).PROXIES, read('')], [[], []])
  for (const wrong of ['proxy.example', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.1 10.0.0.2'])
    assert.throws(() => read(wrong), /PROXIES: must be IP addresses or networks/, wrong)
})
