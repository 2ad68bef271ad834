/** Authorization in two steps: the card becomes a PaymentMethod, which a PaymentIntent charges. */
import {
  type AuthorizeInput,
  type Continue,
  type HttpRequest,
  type HttpResponse,
  type Outcome,
  parseJsonObject,
  type Step,
  type StepContext,
} from '@coffer/core/connector.ts'
import { identifierAt, textAt } from '../answer-fields.ts'
import { plainText } from '../plain-text.ts'
import { stripeAmount } from './amounts.ts'
import { readHeaders, writeHeaders } from './credentials.ts'
import { declineFromError } from './declines.ts'
import { moneyStepError, rejected, stripeError } from './errors.ts'
import { intentOutcome, unknownOutcome } from './statuses.ts'
import { storedCredentialForm } from './stored-credential.ts'

/** The longest metadata value Stripe takes. */
const metadataLengthMax = 500

/**
 * Sends the card, charges nothing, so whatever goes wrong here is definite. The raw-card path every account
 * may be given; `payment_method_data[card]` needs more of Stripe's consent.
 */
export const createPaymentMethod: Step<AuthorizeInput> = {
  name: 'payment_methods',
  moves_money: false,
  resendable_without_cvc: false,
  request: (input, context) =>
    input.psp_token === null ? sendCard(input, context) : lookAtKept(input.psp_token),
  response: paymentMethodResponse,
}

const sendCard = (input: AuthorizeInput, context: StepContext): HttpRequest => ({
  method: 'POST',
  path: '/v1/payment_methods',
  headers: writeHeaders(context),
  body: {
    form: [
      ['type', 'card'],
      ['card[number]', '{{card.number}}'],
      ['card[exp_month]', '{{card.exp_month}}'],
      ['card[exp_year]', '{{card.exp_year}}'],
      ...cvcOf(input),
      ['billing_details[name]', '{{card.cardholder_name?}}'],
    ],
  },
})

/** A PaymentMethod that Stripe holds already, and the customer it belongs to. */
const lookAtKept = (token: string): HttpRequest => ({
  method: 'GET',
  path: `/v1/payment_methods/${encodeURIComponent(token)}`,
  headers: readHeaders(),
  body: null,
})

/** Only a cardholder who is there has just given one. */
function cvcOf({ initiator }: AuthorizeInput): [string, string][] {
  return initiator === 'merchant' ? [] : [['card[cvc]', '{{card.cvc?}}']]
}

function paymentMethodResponse(response: HttpResponse, input: AuthorizeInput): Outcome | Continue {
  // Stripe would round or refuse it: better we do, before the step that moves money.
  if (stripeAmount(input.amount) === undefined) {
    const message = `Stripe cannot charge exactly this amount of ${input.amount.currency}`
    return { kind: 'rejected', psp_code: 'amount_not_representable', message }
  }
  const error = stripeError(response)
  if (isSuccess(response)) {
    const answer = parseJsonObject(response.body)
    const payment_method = identifierAt(answer, 'id')
    if (textAt(answer, 'object') === 'payment_method' && payment_method !== undefined) {
      const customer = identifierAt(answer, 'customer')
      return { kind: 'continue', answers: { payment_method, ...(customer !== undefined && { customer }) } }
    }
    return rejected(response, undefined)
  }
  if (error !== undefined && response.status < 500 && textAt(error, 'type') === 'card_error') {
    return { kind: 'declined', decline: declineFromError(error), psp_reference: null }
  }
  return rejected(response, error)
}

/** Creates and confirms the PaymentIntent in one request: the only one that moves money. */
export const createPaymentIntent: Step<AuthorizeInput> = {
  name: 'payment_intents',
  moves_money: true,
  resendable_without_cvc: true,
  request: (input, context) => ({
    method: 'POST',
    path: '/v1/payment_intents',
    headers: writeHeaders(context),
    body: { form: intentForm(input, context) },
  }),
  response: (response, input) => {
    if (!isSuccess(response)) return moneyStepError(response)
    const intent = parseJsonObject(response.body)
    return intent === undefined ? unknownOutcome('unexpected_answer') : intentOutcome(intent, input)
  },
}

/** The same input gives the same bytes: Stripe compares the parameters when a key comes again. */
function intentForm(input: AuthorizeInput, context: StepContext): [string, string][] {
  const amount = stripeAmount(input.amount)
  const payment_method = context.answers['payment_method']
  if (amount === undefined) throw new RangeError('Stripe cannot charge exactly this amount')
  if (payment_method === undefined) throw new Error('the payment_methods step has no answer')
  const form: [string, string][] = [
    ['amount', String(amount)],
    ['currency', input.amount.currency.toLowerCase()],
    ['confirm', 'true'],
    ['payment_method', payment_method],
    ['payment_method_types[0]', 'card'],
    ['capture_method', input.capture],
    ['metadata[coffer_attempt]', input.attempt_id],
    ['metadata[coffer_payment]', input.payment_id],
    ['transfer_group', input.attempt_id],
    ['expand[0]', 'latest_charge'],
  ]
  const customer = context.answers['customer']
  if (customer !== undefined) form.push(['customer', customer])
  if (input.capture === 'manual') form.push(...holdOptions(context))
  form.push(...storedCredentialForm(input, context))
  if (input.merchant_reference !== null && input.merchant_reference !== '') {
    form.push(['metadata[merchant_reference]', plainText(input.merchant_reference, metadataLengthMax)])
  }
  return form
}

/** What the account can do with a hold; where a card or its issuer cannot, Stripe says so in the charge. */
function holdOptions({ account }: StepContext): [string, string][] {
  return ['incremental_authorization', 'multicapture'].flatMap((option): [string, string][] =>
    account.settings[option] === 'true'
      ? [[`payment_method_options[card][request_${option}]`, 'if_available']]
      : [],
  )
}

function isSuccess(response: HttpResponse): boolean {
  return response.status >= 200 && response.status < 300
}
