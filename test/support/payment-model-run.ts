/** Random sequences against the model of payments, several at a time, and at the end everything against the ledger. */
import assert from 'node:assert/strict'
import { randomInt, randomUUID } from 'node:crypto'
import type { Connection } from '@coffer/vault/forward/schemas.ts'
import fc from 'fast-check'
import { request } from 'undici'
import { type Checked, checkEverything, describeChecked, untilSettled } from './checkers.ts'
import { paymentCommands, runSequence } from './payment-commands.ts'
import type { ModelConnection, Real } from './payment-model.ts'
import type { Merchant } from './retrying-merchant.ts'
import { within } from './within.ts'

export type ModelRun = {
  /** How many sequences in all. */
  runs: number
  /** How many of them at a time. */
  at_once: number
  commands_max: number
  /** Whether processes are killed meanwhile. */
  is_killed: boolean
  /** No new sequence is begun later; what was not run is said. */
  time_limit_ms: number
  diagnostic(message: string): void
  /** When no command is under way any more. */
  afterCommands?(): Promise<void>
}

/** @throws as fast-check does: with the seed, the path and the shortest sequence that shows what is broken. */
export async function runPaymentModel(product: Checked, merchant: Merchant, run: ModelRun): Promise<void> {
  const seed = Number(process.env['PAYMENT_MODEL_SEED'] ?? randomInt(2 ** 31 - run.at_once))
  const path = process.env['PAYMENT_MODEL_PATH']
  run.diagnostic(`note: PAYMENT_MODEL_SEED=${seed}, for ${run.runs} sequences, ${run.at_once} at a time`)
  const connections = await connect(product, merchant)
  const counted = { sequences: 0, commands: 0 }
  const real: Omit<Real, 'calls'> = {
    merchant,
    connections,
    is_killed: run.is_killed,
    async addFault(fault) {
      const url = `${product.simulator_url}/_sim/faults`
      const answer = await request(url, { method: 'POST', body: JSON.stringify(fault) })
      assert.equal(answer.statusCode, 200, await answer.body.text())
    },
  }
  const property = fc.asyncProperty(paymentCommands(run.commands_max), async (commands) => {
    await runSequence(real, commands)
    counted.sequences++
    counted.commands += [...String(commands).matchAll(/\(/g)].length
  })
  const each = {
    numRuns: Math.ceil(run.runs / run.at_once),
    interruptAfterTimeLimit: run.time_limit_ms,
    ...(path !== undefined && { path }),
  }
  const workers = Array.from({ length: path === undefined ? run.at_once : 1 }, (_none, index) =>
    assertUnbroken(property, { ...each, seed: seed + index }),
  )
  await Promise.all(workers)
  assert.ok(counted.sequences > 0, 'no sequence came to its end in time')
  await run.afterCommands?.()
  await untilSettled(product, merchant)
  const seen = describeChecked(await checkEverything(product, merchant))
  if (!run.is_killed) assert.deepEqual(merchant.refusals, [], 'an answer said that it is our fault')
  run.diagnostic(`note: ${counted.sequences} sequences of ${counted.commands} commands; ${seen}`)
}

/** As fast-check asserts; but that time was over before the first sequence had ended breaks nothing. */
async function assertUnbroken<Input>(
  property: fc.IAsyncProperty<Input>,
  parameters: fc.Parameters<Input>,
): Promise<void> {
  const details = await fc.check(property, parameters)
  if (!details.failed || (details.interrupted && details.counterexample === null)) return
  throw new Error(await fc.asyncDefaultReportMessage(details), { cause: details.errorInstance })
}

/** Two accounts at the simulated Stripe: one that captures once, one that has all there is. */
async function connect(product: Checked, merchant: Merchant): Promise<ModelConnection[]> {
  const made: ModelConnection[] = []
  for (const has of [false, true]) {
    const settings = has ? { multicapture: 'true', incremental_authorization: 'true' } : {}
    const name = `model ${randomUUID()}`
    const body = { psp: 'stripe', name, base_url: product.simulator_url, secret: 'sk_test_model_1', settings }
    const answer = await merchant.ask('POST', '/v1/connections', body)
    assert.equal(answer?.status, 201, answer?.text ?? 'no answer')
    const { id } = JSON.parse(answer!.text) as Connection
    made.push({ id, several_captures: has, increments: has })
  }
  await within(30_000, 'the connections are not known to the platform', async () => {
    const events = await merchant.ask('GET', '/v1/events?limit=1000')
    return made.every(({ id }) => events?.text.includes(id) === true)
  })
  return made
}
