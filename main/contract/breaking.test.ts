// What is released stays: docs/openapi.released.json is the contract of the last release. At a release:
// UPDATE_RELEASED_CONTRACT=1 npm test -- main/contract/breaking.test.ts

import assert from 'node:assert/strict'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { breakingChanges } from './breaking.ts'
import type { OpenApi } from './openapi.ts'

const currentFile = new URL('../../docs/openapi.json', import.meta.url)
const releasedFile = new URL('../../docs/openapi.released.json', import.meta.url)
if (process.env['UPDATE_RELEASED_CONTRACT'] === '1') copyFileSync(currentFile, releasedFile)

const current: OpenApi = JSON.parse(readFileSync(currentFile, 'utf8'))

test('nothing that is released has been broken', {
  skip: !existsSync(releasedFile) && 'nothing is released',
}, () => {
  assert.deepEqual(breakingChanges(JSON.parse(readFileSync(releasedFile, 'utf8')), current), [])
})

test('the contract does not break itself', () => {
  assert.deepEqual(breakingChanges(current, current), [])
})

type Change = (api: Loose) => void
// biome-ignore lint/suspicious/noExplicitAny: a document to be changed in every way
type Loose = any

function changesAfter(change: Change): string[] {
  const next = structuredClone(current) as Loose
  change(next)
  return breakingChanges(current, next)
}

const newCard = (api: Loose) => api.paths['/v1/cards'].post.requestBody.content['application/json'].schema
const card = (api: Loose) => api.components.schemas.Card
const list = (api: Loose) => api.paths['/v1/payments'].get

test('what a client may have relied on is found when it changes', () => {
  const cases: [RegExp, Change][] = [
    [/^GET \/v1\/cards\/\{id\} is gone$/, (api) => delete api.paths['/v1/cards/{id}'].get],
    [/is called keepCard$/, (api) => (api.paths['/v1/cards'].post.operationId = 'keepCard')],
    [/needs another scope$/, (api) => (api.paths['/v1/cards'].post.security = [{ api_key: ['admin'] }])],
    [/no longer answers 202$/, (api) => delete api.paths['/v1/payments'].post.responses['202']],
    [/no longer takes reference$/, (api) => list(api).parameters.shift()],
    [/needs card now$/, (api) => (list(api).parameters[1].required = true)],
    [
      /needs page, which is new$/,
      (api) => list(api).parameters.push({ name: 'page', required: true, schema: {} }),
    ],
    [/body\.cvc must be given now$/, (api) => newCard(api).required.push('cvc')],
    [/body\.zip must be given now$/, (api) => newCard(api).required.push('zip')],
    [/body\.customer is no longer taken$/, (api) => delete newCard(api).properties.customer],
    [
      /body\.exp_month may no longer be integer$/,
      (api) => (newCard(api).properties.exp_month.type = 'string'),
    ],
    [/body\.exp_year has a narrower minimum$/, (api) => (newCard(api).properties.exp_year.minimum = 2020)],
    [/body\.customer has a narrower maxLength$/, (api) => (newCard(api).properties.customer.maxLength = 50)],
    [/body\.cvc has a narrower pattern$/, (api) => (newCard(api).properties.cvc.pattern = '^[0-9]{3}$')],
    [
      /body\.capture may no longer be manual$/,
      (api) =>
        api.paths['/v1/payments'].post.requestBody.content[
          'application/json'
        ].schema.properties.capture.enum.pop(),
    ],
    [
      /body\.customer may no longer be anything else$/,
      (api) => (newCard(api).properties.customer.enum = ['a']),
    ],
    [/201\.last4 is gone$/, (api) => delete card(api).properties.last4],
    [/201\.last4 may be missing now$/, (api) => (card(api).required = ['id'])],
    [/201\.last4 may be null now$/, (api) => (card(api).properties.last4.type = ['string', 'null'])],
    [/201\.id has another pattern$/, (api) => (card(api).properties.id.pattern = '^c_')],
    [
      /200\.data\[\]\.amount may be string now$/,
      (api) => (api.components.schemas.Payment.properties.amount.type = 'string'),
    ],
    [/201\.attempts\[\]\.psp is gone$/, (api) => delete api.components.schemas.Attempt.properties.psp],
  ]
  for (const [expected, change] of cases)
    assert.ok(
      changesAfter(change).some((found) => expected.test(found)),
      `${expected}: ${JSON.stringify(changesAfter(change))}`,
    )
})

test('what a client does not notice is no breaking change', () => {
  const cases: Change[] = [
    (api) => (api.paths['/v1/things'] = { get: api.paths['/v1/events'].get }),
    (api) => (newCard(api).properties.nickname = { type: 'string' }),
    (api) => (newCard(api).properties.customer.maxLength = 1_000),
    (api) => newCard(api).required.pop(),
    (api) => (card(api).properties.country = { type: 'string' }),
    (api) => card(api).properties.status.enum.push('lost'),
    (api) => (card(api).properties.cardholder_name.type = 'string'),
    (api) => list(api).parameters.push({ name: 'page', required: false, schema: {} }),
    (api) => delete api.paths['/v1/cards'].post.responses['422'],
    (api) => (api.info.description = 'Other words.'),
  ]
  for (const change of cases) assert.deepEqual(changesAfter(change), [], String(change))
})
