/**
 * The lists, newest first and always up to date; and what is retrieved besides payment intents and refunds.
 */
import {
  chargeBody,
  chargeExpansions,
  customerBody,
  intentBody,
  intentExpansions,
  refundBody,
  refundExpansions,
} from './bodies.ts'
import { answerWith, type Call, type Endpoint, type Prepared, readExpansions } from './call.ts'
import { noSuch, StripeError } from './errors.ts'
import { type ParameterKinds, readMetadata } from './form.ts'
import { newId } from './ids.ts'
import type { Customer, StripeObject } from './state.ts'

const pageParameters: ParameterKinds = {
  created: 'any',
  limit: 'value',
  starting_after: 'value',
  ending_before: 'value',
  expand: 'list',
}

export function readLimit({ parameters }: Call): number {
  const limit = parameters.integer('limit') ?? 10
  if (limit >= 1 && limit <= 100) return limit
  throw new StripeError(400, {
    code: 'parameter_invalid_integer',
    param: 'limit',
    message: 'limit must be between 1 and 100.',
  })
}

/** `created` itself, or with `gte`, `gt`, `lte`, `lt`; whole seconds. */
function readCreated({ parameters }: Call): (created_ms: number) => boolean {
  const exact = parameters.integer('created')
  const bound = (name: string) => parameters.integer(`created[${name}]`)
  const from = Math.max(bound('gte') ?? exact ?? 0, (bound('gt') ?? -1) + 1)
  const to = Math.min(bound('lte') ?? exact ?? Infinity, (bound('lt') ?? Infinity) - 1)
  return (created_ms) => {
    const created = Math.floor(created_ms / 1000)
    return created >= from && created <= to
  }
}

type Page<Found> = { data: Found[]; has_more: boolean }

/** Cursors name an object of the list; the page begins behind it, or ends before it. */
function page<Found extends { id: string }>(
  call: Call,
  found: Iterable<Found>,
  known: (id: string) => boolean,
): Page<Found> {
  const limit = readLimit(call)
  const after = call.parameters.text('starting_after')
  const before = call.parameters.text('ending_before')
  for (const [param, id] of [
    ['starting_after', after],
    ['ending_before', before],
  ] as const) {
    if (id !== undefined && !known(id)) throw noSuch('object', id, param, 400)
  }
  let begun = after === undefined
  const data: Found[] = []
  for (const one of found) {
    if (one.id === before) break
    if (begun) data.push(one)
    else begun = one.id === after
    if (before === undefined && data.length > limit) return { data: data.slice(0, limit), has_more: true }
  }
  return before === undefined
    ? { data, has_more: false }
    : { data: data.slice(-limit), has_more: data.length > limit }
}

type ListOf<Kind extends StripeObject['kind']> = {
  kind: Kind
  path: string
  filters: readonly string[]
  expansions: readonly string[]
  matches(object: Extract<StripeObject, { kind: Kind }>, filter: string, value: string): boolean
  body(call: Call, object: Extract<StripeObject, { kind: Kind }>, expand: ReadonlySet<string>): unknown
}

function listEndpoint<Kind extends StripeObject['kind']>(list: ListOf<Kind>): Endpoint {
  const filterKinds = Object.fromEntries(list.filters.map((name) => [name, 'value' as const]))
  return {
    method: 'GET',
    path: list.path,
    parameters: { ...pageParameters, ...filterKinds },
    prepare(call): Prepared {
      const created = readCreated(call)
      const expand = readExpansions(call, list.expansions, 'data.')
      const filters = list.filters.flatMap((name) => {
        const value = call.parameters.text(name)
        return value === undefined ? [] : [[name, value] as const]
      })
      function* matching() {
        for (const object of call.state.newestFirst(list.kind)) {
          if (object.account !== call.account || !created(object.created_ms)) continue
          if (filters.every(([name, value]) => list.matches(object, name, value))) yield object
        }
      }
      return {
        execute() {
          const known = (id: string) => call.state.get(list.kind, call.account, id) !== undefined
          const { data, has_more } = page(call, matching(), known)
          const bodies = data.map((object) => list.body(call, object, expand))
          return answerWith({ object: 'list', url: `/v1${list.path}`, has_more, data: bodies })
        },
      }
    },
  }
}

const intents = listEndpoint({
  kind: 'payment_intent',
  path: '/payment_intents',
  filters: ['customer'],
  expansions: intentExpansions,
  matches: (intent, _customer, value) => intent.options.customer === value,
  body: (call, intent, expand) => intentBody(call.state, intent, expand),
})

const charges = listEndpoint({
  kind: 'charge',
  path: '/charges',
  filters: ['payment_intent', 'transfer_group'],
  expansions: chargeExpansions,
  matches: (charge, filter, value) => charge[filter as 'payment_intent' | 'transfer_group'] === value,
  body: (call, charge, expand) => chargeBody(call.state, charge, expand),
})

const refunds = listEndpoint({
  kind: 'refund',
  path: '/refunds',
  filters: ['charge', 'payment_intent'],
  expansions: refundExpansions,
  matches: (refund, filter, value) => refund[filter as 'charge' | 'payment_intent'] === value,
  body: (call, refund, expand) => refundBody(call.state, refund, call.now_ms, expand),
})

const retrieveCharge: Endpoint = {
  method: 'GET',
  path: '/charges/:id',
  parameters: { expand: 'list' },
  prepare(call) {
    const expand = readExpansions(call, chargeExpansions)
    return {
      execute() {
        const charge = call.state.get('charge', call.account, call.id)
        if (!charge) throw noSuch('charge', call.id, 'id')
        return answerWith(chargeBody(call.state, charge, expand))
      },
    }
  },
}

const createCustomer: Endpoint = {
  method: 'POST',
  path: '/customers',
  parameters: { name: 'value', email: 'value', description: 'value', metadata: 'any', expand: 'list' },
  prepare(call) {
    const text = (name: string) => call.parameters.text(name) ?? null
    const metadata = readMetadata(call.parameters)
    return {
      execute() {
        const given = { name: text('name'), email: text('email'), description: text('description'), metadata }
        const id = newId('cus')
        const customer: Customer = {
          kind: 'customer',
          id,
          account: call.account,
          created_ms: call.now_ms,
          ...given,
        }
        return answerWith(customerBody(customer), [customer])
      },
    }
  },
}

const retrieveCustomer: Endpoint = {
  method: 'GET',
  path: '/customers/:id',
  parameters: { expand: 'list' },
  prepare: (call) => ({
    execute() {
      const customer = call.state.get('customer', call.account, call.id)
      if (!customer) throw noSuch('customer', call.id, 'id')
      return answerWith(customerBody(customer))
    },
  }),
}

/** Enough for a client to check that its key works. */
const fixed = (path: string, body: (call: Call) => unknown): Endpoint => ({
  method: 'GET',
  path,
  parameters: { expand: 'list' },
  prepare: (call) => ({ execute: () => answerWith(body(call)) }),
})

const account = fixed('/account', (call) => ({
  id: `acct_${call.account}`,
  object: 'account',
  charges_enabled: true,
  country: 'US',
  default_currency: 'usd',
  type: 'standard',
}))

const balance = fixed('/balance', () => ({
  object: 'balance',
  available: [{ amount: 0, currency: 'usd', source_types: { card: 0 } }],
  livemode: false,
  pending: [{ amount: 0, currency: 'usd', source_types: { card: 0 } }],
}))

export const listEndpoints = [
  intents,
  charges,
  refunds,
  retrieveCharge,
  createCustomer,
  retrieveCustomer,
  account,
  balance,
]
