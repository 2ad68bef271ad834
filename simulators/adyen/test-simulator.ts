/** What the tests of the simulated Adyen share: one running, the official client on it, and its control endpoints. */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import adyen from '@adyen/api-library'
import type { LedgerRow } from '../control.ts'
import { sandbox, start } from './start-adyen.ts'

/** A test, or the whole file through node:test's own `after`. */
type Scope = { after(end: () => unknown): void }

export type Answer = { status: number; headers: Headers; body: Record<string, unknown> }

export type Simulated = {
  url: string
  checkout: InstanceType<typeof adyen.CheckoutAPI>
  /** Without the client: what it would not send. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>
  control(method: string, path: string, body?: unknown): Promise<Record<string, unknown>>
  ledger(): Promise<LedgerRow[]>
}

/** The official client: its paths, headers and models, sent to the simulator in place of Adyen's host. */
function clientOf(url: string): InstanceType<typeof adyen.CheckoutAPI> {
  const client = new adyen.Client({ apiKey: sandbox.secret, environment: adyen.EnvironmentEnum.TEST })
  client.httpClient = {
    async request(endpoint, body, config, _isApiKeyRequired, options) {
      const { idempotencyKey, method } = options ?? {}
      const response = await fetch(endpoint.replace('https://checkout-test.adyen.com', url), {
        method: method ?? 'POST',
        headers: {
          'content-type': 'application/json',
          'x-api-key': config.apiKey!,
          ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
        },
        body: String(body),
      })
      const text = await response.text()
      if (response.ok) return text
      throw Object.assign(new Error(text), { status: response.status, ...JSON.parse(text) })
    },
  }
  return new adyen.CheckoutAPI(client)
}

export function simulatedAt(url: string): Simulated {
  async function control(method: string, path: string, body?: unknown) {
    const text = body === undefined ? null : JSON.stringify(body)
    const response = await fetch(url + path, { method, body: text })
    return (await response.json()) as Record<string, unknown>
  }
  return {
    url,
    checkout: clientOf(url),
    async post(path, body, headers = { 'x-api-key': sandbox.secret }) {
      const text = typeof body === 'string' ? body : JSON.stringify(body)
      const response = await fetch(url + path, { method: 'POST', headers, body: text })
      return {
        status: response.status,
        headers: response.headers,
        body: (await response.json()) as Record<string, unknown>,
      }
    },
    control,
    ledger: async () => (await control('GET', '/_sim/ledger'))['data'] as LedgerRow[],
  }
}

export async function temporaryDirectory(t: Scope): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'coffer-simulator-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export async function simulate(t: Scope): Promise<Simulated> {
  const simulator = await start({ host: '127.0.0.1', port: 0, data_directory: await temporaryDirectory(t) })
  t.after(() => simulator.stop())
  return simulatedAt(simulator.url)
}

export const webhookKey = 'DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00'

export type Item = {
  pspReference: string
  originalReference?: string
  merchantAccountCode: string
  merchantReference: string
  amount: { value: number; currency: string }
  eventCode: string
  success: string
  reason: string
  additionalData: Record<string, string>
}

/** Takes what the simulator tells. @returns what waits for the item a test looks for. */
export async function listen(t: Scope, { control }: Simulated) {
  const items: Item[] = []
  const waiting = new Set<() => void>()
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (part: string) => (text += part))
    request.on('end', () => {
      items.push(JSON.parse(text).notificationItems[0].NotificationRequestItem)
      response.end('[accepted]')
      for (const look of waiting) look()
    })
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  t.after(() => server.close())
  const { port } = server.address() as { port: number }
  await control('PUT', '/_sim/webhooks', { url: `http://127.0.0.1:${port}/`, secret: webhookKey })
  return (eventCode: string, reference: string): Promise<Item> =>
    new Promise((done) => {
      const look = () => {
        const isIt = (item: Item) =>
          item.eventCode === eventCode && [item.pspReference, item.merchantReference].includes(reference)
        const item = items.find(isIt)
        if (item === undefined) return
        waiting.delete(look)
        done(item)
      }
      waiting.add(look)
      look()
    })
}

export const merchantAccount = 'CofferSandbox'

export const card = (changes: Record<string, unknown> = {}) => ({
  type: 'scheme',
  number: '4111111145551142',
  expiryMonth: '03',
  expiryYear: '2030',
  cvc: '737',
  ...changes,
})

let count = 0
export const payment = (changes: Record<string, unknown> = {}) => ({
  amount: { currency: 'EUR', value: 1000 },
  merchantAccount,
  reference: `att_${count++}-manual`,
  returnUrl: 'https://shop.example/',
  paymentMethod: card(),
  additionalData: { manualCapture: 'true' },
  ...changes,
})
