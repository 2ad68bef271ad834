/** The series an operator watches: there from the first moment, well-formed, and in the guide, all of them. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { apiOf, firstApi, queryDatabase } from './support/api.ts'
import { parseExposition } from './support/exposition.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const api = firstApi(product)
const read = async () => (await apiOf(product.sandbox.api_url, null).call('GET', '/metrics')).text
const guide = readFileSync(join(import.meta.dirname, '..', 'docs', 'operating.md'), 'utf8')

test('every named series is there, and has a value once there was some work', async () => {
  const card = await api.card()
  assert.equal((await api.createPayment({ card: card.id })).status, 201)
  await eventually(async () => (await api.events()).length >= 4)
  const { series } = parseExposition(await read())
  const valuesOf = (name: string, labels: Record<string, string> = {}) =>
    series
      .filter((found) => found.name === name)
      .filter((found) => Object.entries(labels).every(([key, value]) => found.labels[key] === value))
      .map(({ value }) => value)
  assert.deepEqual(valuesOf('coffer_oldest_unknown_attempt_seconds'), [0])
  for (const zone of ['vault', 'platform']) {
    assert.equal(valuesOf('coffer_outbox_age_seconds', { zone }).length, 1, zone)
    assert.equal(valuesOf('coffer_sequencer_lag_seconds', { source: zone }).length, 1, zone)
    assert.deepEqual(valuesOf('coffer_postgres_pool_waiting', { database: zone }), [0])
  }
  assert.ok(valuesOf('coffer_group_commit_queue_length').length > 0)
  assert.ok(valuesOf('coffer_key_cache_age_seconds')[0]! > 0)
  assert.deepEqual(valuesOf('coffer_log_detector_hits_total'), [0])
  assert.ok(valuesOf('coffer_events_appended_total')[0]! >= 4)
})

test('an event that nobody takes out of an outbox shows as its age', async () => {
  const text = `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
                values ('evt_stuck', 'mer_stuck', 'card.created', 'card_stuck', '{}', now() - interval '1 hour')`
  const lock = 'revoke update on sequencer_leases from coffer_platform_relay'
  await queryDatabase(product, 'platform', lock)
  await queryDatabase(product, 'platform', text)
  const isOld = async () =>
    /^coffer_outbox_age_seconds\{zone="platform"\} (3[6-9]|[4-9]\d)\d\d/m.test(await read())
  await eventually(isOld)
  await queryDatabase(product, 'platform', `delete from outbox where event_id = 'evt_stuck'`)
  await queryDatabase(product, 'platform', lock.replace('revoke', 'grant').replace('from', 'to'))
})

test('the guide names every series of ours, and none that is not there', async () => {
  const ours = [...parseExposition(await read()).names].filter((name) => name.startsWith('coffer_'))
  const told = [...guide.matchAll(/^\| `(coffer_\w+)/gm)].map((match) => match[1]!)
  assert.deepEqual(ours.sort(), told.sort())
})

test('SEC-38: the alert rules name series that are there, before anything has failed', async () => {
  const rules = readFileSync(join(import.meta.dirname, '..', 'docs', 'alert-rules.yml'), 'utf8')
  const alerted = new Set([...rules.matchAll(/^ +expr: .*?(coffer_\w+)/gm)].map((match) => match[1]!))
  assert.ok(alerted.size >= 5)
  const { names, series } = parseExposition(await read())
  for (const name of alerted) assert.ok(names.has(name), name)
  // An increase is seen only of what was there before.
  const failures = series.filter(({ name }) => name === 'coffer_audit_failures_total')
  assert.deepEqual(
    failures.map(({ labels }) => [labels['zone'], labels['step']]),
    ['access', 'vault', 'platform'].flatMap((zone) =>
      ['record', 'attempt', 'seal', 'checkpoint', 'export'].map((step) => [zone, step]),
    ),
  )
})

test('promtool finds nothing to say about a series of ours', async (t) => {
  const metrics = await read()
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: metrics, encoding: 'utf8' })
  if (checked.error !== undefined) return t.skip('there is no promtool on this machine')
  // Those of the Node process are not named by us, and some end in _total without being counters.
  const said = checked.stderr.split('\n').filter((line) => line !== '' && !/^(nodejs|process)_/.test(line))
  assert.deepEqual(said, [])
})

test('the parser refuses what a Prometheus server refuses', () => {
  const good = '# HELP a_total help\n# TYPE a_total counter\na_total{b="c\\"d"} 1\n'
  assert.equal(parseExposition(good).series[0]!.labels['b'], 'c\\"d')
  for (const bad of [
    good.trimEnd(),
    'undeclared 1\n',
    `${good}a_total{b="c\\"d"} 2\n`,
    good.replace(' 1', ' one'),
    good.replace('"c', 'c'),
    good.replace('counter', 'number'),
    good.replace('a_total{', 'a-total{'),
  ])
    assert.throws(() => parseExposition(bad), bad)
})
