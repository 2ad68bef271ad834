import assert from 'node:assert/strict'
import { test } from 'node:test'
import { payment, simulate, stripeError } from './test-simulator.ts'

test('the lists are up to date at once, newest first, and page both ways without a gap', async (t) => {
  const { stripe } = await simulate(t)
  const made: string[] = []
  for (let count = 0; count < 7; count++) {
    const { id } = await stripe.paymentIntents.create(
      payment('pm_card_visa', { transfer_group: `group_${count % 2}` }),
    )
    made.unshift(id)
    assert.equal((await stripe.paymentIntents.list({ limit: 1 })).data[0]?.id, id)
  }
  const first = await stripe.paymentIntents.list({ limit: 3 })
  const second = await stripe.paymentIntents.list({ limit: 3, starting_after: first.data[2]!.id })
  const third = await stripe.paymentIntents.list({ limit: 3, starting_after: second.data[2]!.id })
  assert.deepEqual([first.has_more, second.has_more, third.has_more], [true, true, false])
  assert.deepEqual(
    [...first.data, ...second.data, ...third.data].map(({ id }) => id),
    made,
  )
  const back = await stripe.paymentIntents.list({ limit: 2, ending_before: made[4]! })
  assert.deepEqual(
    back.data.map(({ id }) => id),
    [made[2], made[3]],
  )
  assert.equal(
    (await stripeError(stripe.paymentIntents.list({ starting_after: 'pi_absent' }))).code,
    'resource_missing',
  )
  const charges = await stripe.charges.list({ transfer_group: 'group_1' })
  assert.equal(charges.data.length, 3)
  const expanded = await stripe.paymentIntents.list({ limit: 1, expand: ['data.latest_charge'] })
  assert.equal(typeof expanded.data[0]?.latest_charge, 'object')
})

test('a list is limited by creation time', async (t) => {
  const { stripe, control } = await simulate(t)
  const old = await stripe.paymentIntents.create(payment('pm_card_visa'))
  await control('PUT', '/_sim/clock', { offset_ms: 3_600_000 })
  const young = await stripe.paymentIntents.create(payment('pm_card_visa'))
  const ids = async (created: { gte?: number; gt?: number; lte?: number; lt?: number }) =>
    (await stripe.paymentIntents.list({ created })).data.map(({ id }) => id)
  assert.deepEqual(await ids({ gt: old.created }), [young.id])
  assert.deepEqual(await ids({ gte: old.created }), [young.id, old.id])
  assert.deepEqual(await ids({ lt: young.created }), [old.id])
  assert.deepEqual(await ids({ gte: old.created, lte: old.created }), [old.id])
})

test('the search finds a payment only after its lag, though the list has it at once', async (t) => {
  const { stripe, control } = await simulate(t)
  const metadata = { coffer_attempt: "it's" }
  const { id } = await stripe.paymentIntents.create(payment('pm_card_visa', { metadata }))
  const search = async (query: string) =>
    (await stripe.paymentIntents.search({ query })).data.map((found) => found.id)
  const query = `metadata['coffer_attempt']:"it's"`
  assert.equal((await stripe.paymentIntents.list()).data.length, 1)
  assert.deepEqual(await search(query), [])
  await control('PUT', '/_sim/clock', { offset_ms: 2_000 })
  assert.deepEqual(await search(query), [])
  await control('PUT', '/_sim/clock', { offset_ms: 3_000 })
  assert.deepEqual(await search(query), [id])
  assert.deepEqual(await search(`${query} AND status:'succeeded' AND amount>999`), [id])
  assert.deepEqual(await search(`${query} AND status:'canceled'`), [])
  assert.deepEqual(await search(`status:'canceled' OR -metadata['other']:'x'`), [id])
  assert.equal((await stripeError(stripe.paymentIntents.search({ query: 'nonsense' }))).param, 'query')
  await control('PUT', '/_sim/faults', { search_lag_ms: 0 })
  await control('PUT', '/_sim/clock', { offset_ms: 0 })
  assert.deepEqual(await search(query), [id])
})
