import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { start } from './start-stripe.ts'
import {
  card,
  createMethod,
  payment,
  simulatedAt,
  stripeError,
  temporaryDirectory,
} from './test-simulator.ts'

const startModule = new URL('./start-stripe.ts', import.meta.url).href

async function spawnSimulator(
  t: TestContext,
  directory: string,
): Promise<{ child: ChildProcess; url: string }> {
  const script = join(directory, 'simulator.mjs')
  const config = JSON.stringify({ host: '127.0.0.1', port: 0, data_directory: join(directory, 'data') })
  await writeFile(
    script,
    `import { start } from ${JSON.stringify(startModule)}
    console.log((await start(${config})).url)`,
  )
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const [line] = await once(child.stdout!, 'data')
  return { child, url: String(line).trim() }
}

test('what was answered is known after a kill: ledger, objects, keys, and a saved 500', async (t) => {
  const directory = await temporaryDirectory(t)
  const first = await spawnSimulator(t, directory)
  const { stripe, control, ledger } = simulatedAt(first.url)
  const method = await createMethod(stripe, '4242424242424242')
  const create = (client = stripe) =>
    client.paymentIntents.create(payment(method.id, { transfer_group: 'att_1' }), { idempotencyKey: 'key_1' })
  const fail = (client = stripe) =>
    stripeError(
      client.paymentIntents.create(payment(method.id, { transfer_group: 'att_2' }), {
        idempotencyKey: 'key_2',
      }),
    )
  await control('PUT', '/_sim/faults', { kind: 'server_error_after', match: { reference: 'att_2' } })
  await fail()
  const many = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      stripe.paymentIntents.create(payment(method.id, { transfer_group: `g_${index}` })),
    ),
  )
  const intent = await create()
  const before = await ledger()
  const exited = once(first.child, 'exit')
  first.child.kill('SIGKILL')
  await exited

  const second = simulatedAt((await spawnSimulator(t, directory)).url)
  assert.deepEqual(await second.ledger(), before)
  assert.equal(before.length, many.length + 2)
  const replayed = await create(second.stripe)
  assert.equal(replayed.lastResponse.headers['idempotent-replayed'], 'true')
  assert.deepEqual(JSON.parse(JSON.stringify(replayed)), JSON.parse(JSON.stringify(intent)))
  const failedAgain = await fail(second.stripe)
  assert.deepEqual([failedAgain.statusCode, failedAgain.headers?.['idempotent-replayed']], [500, 'true'])
  assert.equal((await second.stripe.paymentIntents.retrieve(intent.id)).status, 'succeeded')
  assert.equal((await second.stripe.paymentIntents.create(payment(method.id))).status, 'succeeded')
})

test('what was acknowledged under load before a kill is all in the ledger, once', async (t) => {
  const directory = await temporaryDirectory(t)
  const first = await spawnSimulator(t, directory)
  const { stripe } = simulatedAt(first.url)
  const acknowledged: string[] = []
  let next = 0
  const work = async () => {
    for (;;) {
      const transfer_group = `att_${next++}`
      const idempotencyKey = transfer_group
      const intent = await stripe.paymentIntents.create(payment('pm_card_visa', { transfer_group }), {
        idempotencyKey,
      })
      assert.equal(intent.status, 'succeeded')
      acknowledged.push(transfer_group)
      if (acknowledged.length === 300) first.child.kill('SIGKILL')
    }
  }
  await Promise.allSettled(Array.from({ length: 16 }, work))
  assert.ok(acknowledged.length >= 300)
  const rows = await simulatedAt((await spawnSimulator(t, directory)).url).ledger()
  const references = rows.map(({ reference }) => reference)
  assert.equal(new Set(references).size, references.length)
  assert.deepEqual(
    acknowledged.filter((reference) => !references.includes(reference)),
    [],
  )
})

test('a half-written last line is cut off, and what comes after it is kept', async (t) => {
  const directory = await temporaryDirectory(t)
  const config = { host: '127.0.0.1', port: 0, data_directory: directory }
  const journal = join(directory, 'stripe.journal')
  const pay = async (url: string) =>
    (await simulatedAt(url).stripe.paymentIntents.create(payment('pm_card_visa'))).id
  const first = await start(config)
  const ids = [await pay(first.url)]
  await first.stop()
  await appendFile(journal, (await readFile(journal)).subarray(0, 200))
  const second = await start(config)
  ids.push(await pay(second.url))
  await second.stop()
  await appendFile(journal, `${'\0'.repeat(50)}\nrest`)
  const third = await start(config)
  t.after(() => third.stop())
  assert.deepEqual(
    (await simulatedAt(third.url).ledger()).map((row) => row.psp_reference),
    ids,
  )
})

test('neither number nor CVC is ever in a file', async (t) => {
  const directory = await temporaryDirectory(t)
  const simulator = await start({ host: '127.0.0.1', port: 0, data_directory: directory })
  t.after(() => simulator.stop())
  const { stripe } = simulatedAt(simulator.url)
  const number = '6011111111111117'
  const type = 'card'
  await stripe.paymentMethods.create(
    { type, card: { ...card(number), cvc: '987' } },
    { idempotencyKey: 'key_1' },
  )
  await stripeError(stripe.paymentMethods.create({ type, card: { ...card('6011111111111118'), cvc: '987' } }))
  const file = await readFile(join(directory, 'stripe.journal'), 'latin1')
  assert.match(file, /"last4":"1117"/)
  assert.doesNotMatch(file, /601111|11111111|"987"|cvc":"/)
})
