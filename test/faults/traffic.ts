/** Steady traffic for tests in which something happens under it. */
import { setTimeout as delay } from 'node:timers/promises'
import { goodNumbers } from '../support/card-numbers.ts'
import type { Merchant } from '../support/retrying-merchant.ts'
import { within } from '../support/within.ts'

const clientsPerMerchant = 6
const boundMs = 90_000

export const answersOf = (merchants: Merchant[]) =>
  merchants.flatMap(({ calls }) => calls).filter(({ told }) => told !== undefined).length

export type Traffic = {
  /** Waits until so many more requests were answered; fails where a client has failed. */
  answers(count: number, otherwise: string): Promise<void>
  /** No new requests; those under way are repeated until they have their answers. */
  stop(): Promise<void>
}

/** Clients that tokenize and charge, one after the other, until told to stop. */
export function startTraffic(merchants: Merchant[]): Traffic {
  const stopping = new AbortController()
  const working = Promise.all(merchants.flatMap((merchant) => clientsOf(merchant, stopping.signal)))
  working.catch(() => {}) // looked at by whoever waits
  return {
    async answers(count, otherwise) {
      const wanted = answersOf(merchants) + count
      const enough = within(boundMs, otherwise, () => answersOf(merchants) >= wanted)
      await Promise.race([enough, working.then(() => enough)])
    },
    async stop() {
      stopping.abort()
      await working
    },
  }
}

function clientsOf(merchant: Merchant, signal: AbortSignal): Promise<void>[] {
  const numbers = [...Object.values(goodNumbers), '4000000000000002']
  const client = async (_: unknown, first: number) => {
    for (let index = first; !signal.aborted; index += clientsPerMerchant) {
      const card = await merchant.tokenize(numbers[index % numbers.length]!)
      const capture = index % 3 === 0 ? 'manual' : 'automatic'
      await merchant.chargeIfAllowed({ amount: 500 + index, card: card.id, capture })
      await delay(20)
    }
  }
  return Array.from({ length: clientsPerMerchant }, client)
}
