/** What a request to `/v1/payment_intents` asks for, read and checked. */
import { mayExempt } from './account.ts'
import type { Call } from './call.ts'
import { missingParameter, StripeError } from './errors.ts'
import { ownCopy } from './form.ts'
import { type CardInput, findPaymentMethod, newPaymentMethod, readCard } from './payment-methods.ts'
import type { IntentOptions, PaymentMethod } from './state.ts'

const currencies = new Set(Intl.supportedValuesOf('currency').map((code) => code.toLowerCase()))
const amountMax = 99_999_999

/** In the currency's minor units; one where Stripe publishes none. */
const amountMinimums: Record<string, number> = {
  aed: 200,
  aud: 50,
  bgn: 100,
  brl: 50,
  cad: 50,
  chf: 50,
  czk: 1500,
  dkk: 250,
  eur: 50,
  gbp: 30,
  hkd: 400,
  huf: 17500,
  inr: 50,
  jpy: 50,
  mxn: 1000,
  myr: 200,
  nok: 300,
  nzd: 50,
  pln: 200,
  ron: 200,
  sek: 300,
  sgd: 50,
  thb: 1000,
  usd: 50,
}

export function readAmount({ parameters }: Call): { amount: number; currency: string } {
  const amount = parameters.integer('amount')
  const currency = parameters.text('currency')?.toLowerCase()
  const refuse = (code: string, message: string) => new StripeError(400, { code, param: 'amount', message })
  if (amount === undefined) throw missingParameter('amount')
  if (currency === undefined || currency === '') throw missingParameter('currency')
  if (!currencies.has(currency))
    throw new StripeError(400, { param: 'currency', message: `Invalid currency: ${currency}` })
  if (amount < 1) throw refuse('parameter_invalid_integer', 'This value must be greater than or equal to 1.')
  if (amount < (amountMinimums[currency] ?? 1)) {
    throw refuse(
      'amount_too_small',
      `Amount must be at least ${amountMinimums[currency]} in ${currency}'s minor units.`,
    )
  }
  if (amount > amountMax) throw refuse('amount_too_large', `Amount must be no more than ${amountMax}.`)
  return { amount, currency }
}

const plainOptions = [
  'customer',
  'description',
  'receipt_email',
  'return_url',
  'statement_descriptor',
  'statement_descriptor_suffix',
  'transfer_group',
] as const

export function readOptions({ parameters, account }: Call): IntentOptions {
  const options: IntentOptions = {}
  const capture_method = parameters.oneOf('capture_method', ['automatic', 'automatic_async', 'manual'])
  const confirmation_method = parameters.oneOf('confirmation_method', ['automatic', 'manual'])
  const setup_future_usage = parameters.oneOf('setup_future_usage', ['on_session', 'off_session'])
  if (capture_method) options.capture_method = capture_method
  if (confirmation_method) options.confirmation_method = confirmation_method
  if (setup_future_usage) options.setup_future_usage = setup_future_usage
  for (const name of plainOptions) {
    const value = parameters.text(name)
    if (value) options[name] = ownCopy(value)
  }
  for (const name of ['incremental_authorization', 'multicapture'] as const) {
    const values = ['if_available', 'never'] as const
    const asked = parameters.oneOf(`payment_method_options[card][request_${name}]`, values)
    if (asked) options[`request_${name}`] = asked
  }
  Object.assign(options, readExemption(parameters, account))
  const types = parameters.list('payment_method_types')
  if (types.length > 0 && !types.includes('card')) {
    throw new StripeError(400, {
      param: 'payment_method_types',
      message: `Only cards are simulated, not ${types}.`,
    })
  }
  return options
}

const transactionTypes = [
  'setup_on_session',
  'setup_off_session_recurring',
  'setup_off_session_unscheduled',
  'stored_on_session',
  'stored_off_session_recurring',
  'stored_off_session_unscheduled',
] as const

/** For an account that is not enabled for it, Stripe does not know these parameters. */
function readExemption(parameters: Call['parameters'], account: string): IntentOptions {
  const at = (name: string) => `payment_method_options[card][${name}]`
  for (const name of ['mit_exemption', 'stored_credential_transaction_type'])
    if (parameters.has(at(name)) && !mayExempt(account))
      throw new StripeError(400, {
        code: 'parameter_unknown',
        param: at(name),
        message: `Received unknown parameter: ${at(name)}`,
      })
  const type = parameters.oneOf(at('stored_credential_transaction_type'), transactionTypes)
  const network_transaction_id = parameters.text(`${at('mit_exemption')}[network_transaction_id]`)
  const claim = parameters.boolean(`${at('mit_exemption')}[claim_without_transaction_id]`)
  return {
    ...(type && { stored_credential_transaction_type: type }),
    ...(network_transaction_id && {
      mit_exemption: { network_transaction_id: ownCopy(network_transaction_id) },
    }),
    ...(claim && { mit_exemption: { claim_without_transaction_id: true } }),
  }
}

type MethodChoice = { id: string | undefined; card: CardInput | undefined }

export function readMethodChoice({ parameters }: Call): MethodChoice {
  const id = parameters.text('payment_method') || undefined
  if (!parameters.has('payment_method_data')) return { id, card: undefined }
  if (parameters.text('payment_method_data[type]') !== 'card')
    throw missingParameter('payment_method_data[type]')
  const part = (name: string) => parameters.text(`payment_method_data[card][${name}]`) ?? ''
  const given = {
    number: part('number'),
    exp_month: part('exp_month'),
    exp_year: part('exp_year'),
    cvc: part('cvc'),
  }
  return { id, card: readCard(given, 'payment_method_data[card]') }
}

/** `created` holds the method where the state does not yet. */
export function chosenMethod(
  call: Call,
  { id, card }: MethodChoice,
): { method: PaymentMethod; created: PaymentMethod[] } | null {
  if (card) {
    const method = newPaymentMethod(call, card, { billing: {}, metadata: {}, customer: null })
    return { method, created: [method] }
  }
  if (id === undefined) return null
  const { method, created } = findPaymentMethod(call, id)
  return { method, created: created ? [method] : [] }
}

/** `off_session` is true, false, or one of the older words for why. */
export const readSession = ({ parameters }: Call) => ({
  off_session: (parameters.text('off_session') ?? 'false') !== 'false',
  error_on_requires_action: parameters.boolean('error_on_requires_action') ?? false,
})

export const cardLast4 = (call: Call, choice: MethodChoice, fallback: string | null = null) =>
  choice.card?.number.slice(-4) ??
  call.state.get('payment_method', call.account, choice.id ?? fallback)?.last4 ??
  null

/** Of the card an intent was charged to, for a fault that is meant for it. */
export function intentLast4(call: Call, intent: string | undefined): string | null {
  const { payment_method = null } = call.state.get('payment_intent', call.account, intent ?? null) ?? {}
  return call.state.get('payment_method', call.account, payment_method)?.last4 ?? null
}
