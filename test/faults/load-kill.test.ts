// kill -9 of everything, in the middle of 200 payments a second, and once more while it is coming back: then it is
// started again at once, on the same folder, while its PostgreSQL may still be ending.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Secret } from '@coffer/core/secret.ts'
import { databaseUrl } from '../../main/databases.ts'
import { queryDatabase } from '../support/api.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import {
  type Checked,
  checkEverything,
  describeChecked,
  setFaults,
  untilSettled,
} from '../support/checkers.ts'
import { freePort } from '../support/free-port.ts'
import { processesIn } from '../support/processes.ts'
import { type Product, startProduct, temporaryFolder } from '../support/product.ts'
import { findMerchantKey, type Merchant, retryingMerchant } from '../support/retrying-merchant.ts'
import { within } from '../support/within.ts'

const paymentsPerSecond = 200
const cardsPerSecond = 50
/** The kill comes when so many payments have an answer; more keep arriving until it has come. */
const answeredBeforeKill = 600
const underWayAtKill = 10
const tickMs = 10

test('kill -9 of the whole process group during 200 payments/s: every acknowledged card and payment is there', async (t) => {
  const data_directory = temporaryFolder({ after })
  const port = await freePort()
  const start = () =>
    startProduct(
      { after },
      {
        data_directory,
        args: ['--port', String(port)],
        environment: { PSP_DEADLINE_MS: '3000', ANSWER_DEADLINE_MS: '4000' },
      },
    )
  let product = await start()
  const checked: Checked = {
    urlOf: () => product.sandbox.api_url,
    get simulator_url() {
      return product.sandbox.simulators.stripe
    },
    query: (zone, text, values) => queryDatabase(product, zone, text, values),
  }
  const key = await findMerchantKey(accessUrl(product), product.sandbox.secret_key)
  const merchant = retryingMerchant({ after }, checked, key)

  // The PSP charges at once and takes its time to say so: at any moment there are charges nobody knows of yet.
  await setFaults(checked, { kind: 'slow', delay_ms: 150 })
  const load = startLoad(merchant, await cardsToCharge(merchant))
  await within(60_000, 'the load gets no answers', () => {
    return answered(merchant) >= answeredBeforeKill && unanswered(merchant) >= underWayAtKill
  })
  const killing = product.kill()
  const [sent, lost] = [merchant.calls.length, unanswered(merchant)]
  await killing
  load.stop()

  product = await start()
  await within(60_000, 'the repeats get no answers', () => unanswered(merchant) <= lost / 2)
  const { pid } = product.sandbox
  process.kill(-pid, 'SIGKILL')
  await within(10_000, 'it does not end', () => !isThere(pid))
  product = await start()
  await load.finished
  await untilSettled(checked, merchant)
  const seen = describeChecked(await checkEverything(checked, merchant))
  t.diagnostic(`note: ${t.name}; ${sent} requests sent, ${lost} under way when it came; ${seen}`)
  assert.deepEqual(await product.stop(), { code: 0, signal: null }, product.output())
  assert.deepEqual(processesIn(data_directory), [], 'processes are left')
})

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const answered = (merchant: Merchant) => merchant.calls.length - unanswered(merchant)
const unanswered = (merchant: Merchant) => merchant.calls.filter(({ told }) => told === undefined).length

function accessUrl(product: Product): Secret<string> {
  const { postgres } = product.sandbox
  return new Secret(databaseUrl(postgres, 'postgres', postgres.password, 'coffer_access'))
}

async function cardsToCharge(merchant: Merchant): Promise<string[]> {
  const numbers = [...Object.values(goodNumbers), '4000000000009995']
  const cards = await Promise.all(numbers.map((number) => merchant.tokenize(number)))
  return cards.map((card) => card.id)
}

/** Open loop: requests are sent when they are due, however long the answers to earlier ones take. */
function startLoad(merchant: Merchant, cards: string[]) {
  const numbers = Object.values(goodNumbers)
  const sent: Promise<unknown>[] = []
  let stopping = false
  const startedMs = performance.now()
  async function run(): Promise<void> {
    const count = { payments: 0, cards: 0 }
    while (!stopping) {
      const seconds = (performance.now() - startedMs) / 1_000
      for (; count.payments < seconds * paymentsPerSecond; count.payments++)
        sent.push(
          merchant.chargeIfAllowed({
            amount: 100 + count.payments,
            card: cards[count.payments % cards.length]!,
          }),
        )
      for (; count.cards < seconds * cardsPerSecond; count.cards++)
        sent.push(merchant.tokenize(numbers[count.cards % numbers.length]!))
      await delay(tickMs)
    }
    await Promise.all(sent)
  }
  return {
    finished: run(),
    stop() {
      stopping = true
    },
  }
}
