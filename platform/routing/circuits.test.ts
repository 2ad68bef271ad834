import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { money } from '@coffer/core/money.ts'
import { systemClock } from '@coffer/core/time.ts'
import type { Ending } from '../payments/machine.ts'
import { noBinTable, parseBinTable } from './bin-table.ts'
import { createCircuits } from './circuits.ts'
import { createKept } from './kept.ts'
import { createSuccessRates } from './success-rates.ts'

test('F-21: a connection in trouble is left alone, tried again by one payment, and used again when it is well', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
  t.after(() => mock.timers.reset())
  const circuits = createCircuits({ retry_after_ms: 10_000, clock: systemClock })
  const run = (isTroubled: boolean) =>
    circuits.run('con_1', async (noteTrouble) => {
      if (isTroubled) noteTrouble()
      return 'done'
    })
  for (let index = 0; index < 4; index++) assert.equal(await run(true), 'done')
  assert.equal(circuits.isOpen('con_1'), false)
  await run(true)
  assert.deepEqual([circuits.isOpen('con_1'), circuits.nameOf('con_1')], [true, 'open'])
  // What has no other way goes through all the same, and decides nothing.
  await run(false)
  assert.equal(circuits.isOpen('con_1'), true)

  mock.timers.tick(10_000)
  assert.equal(circuits.isOpen('con_1'), false)
  let finish = () => {}
  const probe = circuits.run('con_1', async (noteTrouble) => {
    noteTrouble()
    await new Promise<void>((resolve) => {
      finish = resolve
    })
  })
  assert.deepEqual([circuits.isOpen('con_1'), circuits.nameOf('con_1')], [true, 'half_open'])
  finish()
  await probe
  assert.deepEqual([circuits.isOpen('con_1'), circuits.nameOf('con_1')], [true, 'open'])

  mock.timers.tick(10_000)
  await run(false)
  assert.deepEqual([circuits.isOpen('con_1'), circuits.nameOf('con_1')], [false, 'closed'])
  assert.equal(circuits.isOpen('con_2'), false)
})

test('a connection that is well most of the time keeps its circuit closed', async () => {
  const circuits = createCircuits({ retry_after_ms: 10_000, clock: systemClock })
  for (let index = 0; index < 100; index++)
    await circuits.run('con_1', async (noteTrouble) => {
      if (index % 3 === 0) noteTrouble()
    })
  assert.equal(circuits.isOpen('con_1'), false)
})

const approved: Ending = {
  ...{ kind: 'approved', amount: money(1n, 'EUR'), captured: true, psp_reference: 'p' },
  ...{ network_transaction_id: null, transaction_link_id: null },
}
const failed: Ending = { kind: 'not_sent', message: 'not reachable', code: 'psp_unavailable' }
const unknown: Ending = { kind: 'unknown', cause: 'no_answer', psp_reference: null }

test('a success rate follows what is approved, forgets in hours, and takes nothing from what is not certain', () => {
  let now = 0
  const rates = createSuccessRates({ now: () => new Date(now) })
  assert.equal(rates.of('con_1', 'visa'), 1)
  for (let index = 0; index < 200; index++) {
    rates.observe('con_1', 'visa', index % 4 === 0 ? failed : approved)
    rates.observe('con_1', 'visa', unknown)
  }
  assert.ok(Math.abs(rates.of('con_1', 'visa') - 0.75) < 0.02)
  assert.equal(rates.of('con_1', 'mastercard'), 1)
  for (let index = 0; index < 400; index++) rates.observe('con_1', 'visa', failed)
  assert.ok(rates.of('con_1', 'visa') < 0.05)
  now += 12 * 3_600_000
  assert.ok(rates.of('con_1', 'visa') > 0.9)
})

test('what is kept is looked up once, but a failure and an absence are asked for again', async () => {
  const kept = createKept<string | undefined>({ kept_ms: 60_000, max: 2 })
  let looks = 0
  const look = (value: string | undefined) => async () => {
    looks += 1
    if (value === 'fails') throw new Error('no database')
    return value
  }
  await kept.get('a', look('found'))
  assert.equal(await kept.get('a', look('other')), 'found')
  assert.equal(looks, 1)
  assert.equal(await kept.get('b', look(undefined)), undefined)
  assert.equal(await kept.get('b', look('found')), 'found')
  await assert.rejects(kept.get('c', look('fails')))
  assert.equal(await kept.get('c', look('found')), 'found')
})

const table = `first,last,country,funding,issuer
400000,419999,DE,debit,Sparbank
42424242,42424299,FR,credit,"Banque, Paris"
5100,5199,US,,
`

test('a table of first digits tells country and funding; what it does not tell is unknown', () => {
  const bins = parseBinTable(table)
  assert.equal(bins.size, 3)
  const told = (bin: string | null) => Object.values(bins.look(bin))
  assert.deepEqual(told('41111111'), ['DE', 'debit', 'Sparbank'])
  assert.deepEqual(told('411111'), ['DE', 'debit', 'Sparbank'])
  assert.deepEqual(told('42424250'), ['FR', 'credit', 'Banque, Paris'])
  assert.deepEqual(told('51999999'), ['US', 'unknown', null])
  for (const bin of ['424242', '42424300', '399999', '52000000', null, 'x'])
    assert.deepEqual(told(bin), ['unknown', 'unknown', null], `${bin}`)
  assert.deepEqual(noBinTable.look('411111').issuer_country, 'unknown')
})

test('a table of first digits that is wrong says in which line', () => {
  const head = 'first,last,country,funding,issuer\n'
  for (const [text, message] of [
    ['bin,country\n', /^line 1/],
    [`${head}400000,39,DE,,\n`, /^line 2: first and last/],
    [`${head}4000,3999,DE,,\n`, /^line 2: last is less/],
    [`${head}4000,4000,de,,\n`, /^line 2: the country/],
    [`${head}4000,4000,DE,gold,\n`, /^line 2: the funding/],
    [`${head}4000,4099,DE,,\n4050,4060,FR,,\n`, /overlap/],
  ] as const)
    assert.throws(() => parseBinTable(text), { message })
})
