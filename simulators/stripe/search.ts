/** `/v1/payment_intents/search`: Stripe's search language over an index that lags behind. */
import { intentBody, intentExpansions } from './bodies.ts'
import { answerWith, type Call, type Endpoint, readExpansions } from './call.ts'
import { missingParameter, StripeError } from './errors.ts'
import { readLimit } from './lists.ts'
import type { PaymentIntent } from './state.ts'

type Test = (intent: PaymentIntent) => boolean

const fieldPattern = String.raw`(?:metadata\[(["'])(.*?)\2\]|(amount|created|currency|customer|status))`
const clausePattern = new RegExp(String.raw`^(-?)${fieldPattern}(:|>=|<=|>|<)(?:(["'])(.*?)\6|(-?\d+))$`)

const refuse = (message: string) => new StripeError(400, { param: 'query', message })

/** The value a field is compared with: text, or a number for amount and created. */
function fieldOf(
  intent: PaymentIntent,
  field: string,
  metadata_key: string | undefined,
): string | number | undefined {
  if (metadata_key !== undefined) return intent.metadata[metadata_key]
  if (field === 'created') return Math.floor(intent.created_ms / 1000)
  if (field === 'customer') return intent.options.customer
  return intent[field as 'amount' | 'currency' | 'status']
}

const comparisons: Record<string, (left: number, right: number) => boolean> = {
  '>': (left, right) => left > right,
  '>=': (left, right) => left >= right,
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
}

function readClause(clause: string): Test {
  const parts = clausePattern.exec(clause)
  if (!parts) throw refuse(`We were unable to parse this part of your search query: ${clause}`)
  const [, negated, , metadata_key, field = '', operator = ':', , text, number] = parts
  const wanted = text ?? number!
  const compare = comparisons[operator]
  if (compare && field !== 'amount' && field !== 'created')
    throw refuse(`Field does not support ${operator}: ${clause}`)
  const test: Test = compare
    ? (intent) => compare(Number(fieldOf(intent, field, metadata_key)), Number(wanted))
    : (intent) => String(fieldOf(intent, field, metadata_key) ?? '') === wanted
  return negated === '' ? test : (intent) => !test(intent)
}

/** Clauses joined by AND or by OR, not by both, as Stripe has it. Quotes may hold anything but themselves. */
function readQuery(query: string): Test {
  const parts = query.trim().match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? []
  const joiners = new Set(parts.filter((_, index) => index % 2 === 1).map((joiner) => joiner.toUpperCase()))
  const tests = parts.filter((_, index) => index % 2 === 0).map(readClause)
  if (
    parts.length % 2 === 0 ||
    joiners.size > 1 ||
    [...joiners].some((joiner) => joiner !== 'AND' && joiner !== 'OR')
  ) {
    throw refuse('The query must be clauses joined either by AND or by OR.')
  }
  return joiners.has('OR')
    ? (intent) => tests.some((test) => test(intent))
    : (intent) => tests.every((test) => test(intent))
}

/** A page's token is the last id before it. */
function searchPage(call: Call, test: Test): { data: PaymentIntent[]; next_page: string | null } {
  const limit = readLimit(call)
  const after = call.parameters.text('page')
  let begun = after === undefined
  const data: PaymentIntent[] = []
  for (const intent of call.state.newestFirst('payment_intent')) {
    if (!begun) {
      begun = intent.id === after
      continue
    }
    const indexed = intent.created_ms + call.search_lag_ms <= call.now_ms
    if (!indexed || intent.account !== call.account || !test(intent)) continue
    if (data.length === limit) return { data, next_page: data[limit - 1]!.id }
    data.push(intent)
  }
  return { data, next_page: null }
}

export const searchEndpoint: Endpoint = {
  method: 'GET',
  path: '/payment_intents/search',
  parameters: { query: 'value', limit: 'value', page: 'value', expand: 'list' },
  prepare(call) {
    const query = call.parameters.text('query')
    if (!query) throw missingParameter('query')
    const test = readQuery(query)
    const expand = readExpansions(call, intentExpansions, 'data.')
    return {
      execute() {
        const { data, next_page } = searchPage(call, test)
        const bodies = data.map((intent) => intentBody(call.state, intent, expand))
        const url = '/v1/payment_intents/search'
        return answerWith({
          object: 'search_result',
          url,
          has_more: next_page !== null,
          next_page,
          data: bodies,
        })
      },
    }
  },
}
