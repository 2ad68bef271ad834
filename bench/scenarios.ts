/**
 * The requests the benchmark sends, one row a scenario. A row is all there is to add or change when the
 * public API moves: the generator, the bare Fastify yardstick and the report read this table.
 */

export type ScenarioName = 'tokenize' | 'get' | 'reveal' | 'payment'

export type Scenario = {
  name: ScenarioName
  method: 'GET' | 'POST'
  expected_status: number
  /**
   * Text the body must hold for the answer to count as right; a 201 that tells of a decline is an error
   * here.
   */
  expected_text?: string
  /** Arrivals per second of the fixed-rate phase. */
  rate_per_second: number
  /** Share of the requests of a mixed load. */
  mixed_weight: number
  request(input: RequestInput): { path: string; body?: Record<string, unknown>; idempotency_key?: string }
}

/** What a request is made of: `number` is different for every request of a run, `run` for every run. */
export type RequestInput = { number: number; run: string; card: string }

export const scenarios: Record<ScenarioName, Scenario> = {
  tokenize: {
    name: 'tokenize',
    method: 'POST',
    expected_status: 201,
    rate_per_second: 1_000,
    mixed_weight: 4,
    request: ({ number, run }) => ({
      path: '/v1/cards',
      idempotency_key: `bench-${run}-t${number}`,
      body: {
        number: cardNumber(number),
        exp_month: 1 + (number % 12),
        exp_year: 2031,
        cardholder_name: 'Ada Lovelace',
        customer: `customer-${number % 10_000}`,
        metadata: { plan: 'team-annual', source: 'bench' },
      },
    }),
  },
  get: {
    name: 'get',
    method: 'GET',
    expected_status: 200,
    rate_per_second: 1_000,
    mixed_weight: 4,
    request: ({ card }) => ({ path: `/v1/cards/${card}` }),
  },
  reveal: {
    name: 'reveal',
    method: 'POST',
    expected_status: 200,
    rate_per_second: 1_000,
    mixed_weight: 1,
    request: ({ card }) => ({ path: `/v1/cards/${card}/reveal`, body: { reason: 'benchmark' } }),
  },
  payment: {
    name: 'payment',
    method: 'POST',
    expected_status: 201,
    expected_text: '"captured"',
    rate_per_second: 200,
    mixed_weight: 1,
    request: ({ number, run, card }) => ({
      path: '/v1/payments',
      idempotency_key: `bench-${run}-p${number}`,
      body: {
        amount: 1_000 + (number % 9_000),
        currency: 'USD',
        card,
        capture: 'automatic',
        initiator: 'customer',
        reference: `order-${run}-${number}`,
        metadata: { plan: 'team-annual' },
      },
    }),
  },
}

export const scenario_names = Object.keys(scenarios) as ScenarioName[]

/**
 * The `index`-th made-up card number: a Luhn-valid number under Stripe's test prefix 424242, different for
 * every index below 20 million. Successive numbers are spread out, so that nothing profits from their
 * order.
 */
export function cardNumber(index: number): string {
  const spread = (index * 387_420_489) % 1_000_000_000
  const digits = `424242${String(spread).padStart(9, '0')}`
  return digits + luhnDigit(digits)
}

function luhnDigit(digits: string): number {
  let sum = 0
  for (let i = 0; i < digits.length; i += 1) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48
    const weighed = i % 2 === 0 ? digit * 2 : digit
    sum += weighed > 9 ? weighed - 9 : weighed
  }
  return (10 - (sum % 10)) % 10
}

/** Whom to load, and the API key to show there. */
export type LoadTarget = { host: string; port: number; secret_key: string }

export type RequestWriter = (scenario: Scenario, input: RequestInput) => string

/** Returns a function that writes whole HTTP requests (ASCII only, so that characters are bytes). */
export function createRequestWriter(target: LoadTarget): RequestWriter {
  const { host, port, secret_key } = target
  const head = ` HTTP/1.1\r\nhost: ${host}:${port}\r\nauthorization: Bearer ${secret_key}\r\n`
  return (scenario, input) => {
    const { path, body, idempotency_key } = scenario.request(input)
    const key = idempotency_key === undefined ? '' : `idempotency-key: ${idempotency_key}\r\n`
    if (body === undefined) return `${scenario.method} ${path}${head}${key}\r\n`
    const json = JSON.stringify(body)
    const about_body = `content-type: application/json\r\ncontent-length: ${json.length}\r\n`
    return `${scenario.method} ${path}${head}${key}${about_body}\r\n${json}`
  }
}
