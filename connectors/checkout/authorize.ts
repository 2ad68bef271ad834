/** Authorization in one step: the card, what it is used for and the amount in one request. */
import {
  type AuthorizeInput,
  type CredentialUsage,
  type HttpResponse,
  type JsonValue,
  type Outcome,
  parseJsonObject,
  type Step,
  type StepContext,
} from '@coffer/core/connector.ts'
import { plainText } from '../plain-text.ts'
import { exactAmount } from './amounts.ts'
import { writeHeaders } from './credentials.ts'
import { paymentError } from './errors.ts'
import { paymentOutcome, unknownOutcome } from './statuses.ts'

/** The longest metadata value that is sent, and the longest `previous_payment_id` Checkout.com takes. */
const metadataLengthMax = 255
const previousPaymentLengthMax = 100

/**
 * Never sent again: Checkout.com keeps a key only for a 2xx answer, so a request that ended in a 5xx after it had
 * charged would charge once more.
 */
export const requestPayment: Step<AuthorizeInput> = {
  name: 'payments',
  moves_money: true,
  resendable_without_cvc: false,
  request: (input, context) => ({
    method: 'POST',
    path: '/payments',
    headers: writeHeaders(context),
    body: { json: paymentBody(input, context) },
  }),
  response: paymentResponse,
}

/** The same request for an amount of zero asks whether the card is good: nothing is charged or held. */
export const verifyCard: Step<AuthorizeInput> = requestPayment

function paymentResponse(response: HttpResponse, input: AuthorizeInput): Outcome {
  if (response.status !== 201 && response.status !== 202) return paymentError(response)
  const payment = parseJsonObject(response.body)
  return payment === undefined ? unknownOutcome('unexpected_answer') : paymentOutcome(payment, input)
}

function paymentBody(input: AuthorizeInput, { account }: StepContext): JsonValue {
  const { processing_channel_id, incremental_authorization } = account.settings
  const isVerification = input.amount.amount_minor === 0n
  return {
    source: paymentSource(input),
    amount: exactAmount(input.amount),
    currency: input.amount.currency,
    ...storedCredential(input),
    reference: input.attempt_id,
    ...(isVerification ? {} : { capture: input.capture === 'automatic' }),
    // Only an estimate can grow later.
    ...(incremental_authorization === 'true' && input.capture === 'manual'
      ? { authorization_type: 'Estimated' }
      : {}),
    ...(processing_channel_id === undefined
      ? {}
      : { processing_channel_id: plainText(processing_channel_id, 100) }),
    metadata: paymentMetadata(input),
  }
}

/** What a notice brings back with it: whose payment it is, and whether its capture is ours to ask for. */
function paymentMetadata(input: AuthorizeInput): { [name: string]: JsonValue } {
  const metadata = {
    coffer_attempt: input.attempt_id,
    coffer_payment: input.payment_id,
    coffer_capture: input.capture,
  }
  if (input.merchant_reference === null || input.merchant_reference === '') return metadata
  return { ...metadata, merchant_reference: plainText(input.merchant_reference, metadataLengthMax) }
}

function paymentSource(input: AuthorizeInput): { [name: string]: JsonValue } {
  const isStored = input.initiator === 'merchant' || input.stored_credential?.sequence === 'subsequent'
  if (input.psp_token !== null) return { type: 'id', id: plainText(input.psp_token, 100) }
  return {
    type: 'card',
    number: '{{card.number}}',
    expiry_month: '{{card.exp_month_number}}',
    expiry_year: '{{card.exp_year_number}}',
    name: '{{card.cardholder_name?}}',
    // Only a cardholder who is there has just given one.
    ...(input.initiator === 'merchant' ? {} : { cvv: '{{card.cvc?}}' }),
    ...(isStored ? { stored: true } : {}),
  }
}

/** What Checkout.com calls the agreement under which a card is used. */
const paymentTypes: Record<CredentialUsage, string> = {
  card_on_file: 'Unscheduled',
  subscription: 'Recurring',
  installment: 'Installment',
  unscheduled: 'Unscheduled',
  resubmission: 'Unscheduled',
  delayed_charge: 'Unscheduled',
  reauthorization: 'Unscheduled',
  no_show: 'Unscheduled',
}

/** A cardholder who pays with a card on file makes a regular payment; all else is told by its type. */
function storedCredential({ initiator, stored_credential }: AuthorizeInput): { [name: string]: JsonValue } {
  const merchant_initiated = initiator === 'merchant'
  const usage = stored_credential?.usage ?? 'card_on_file'
  const payment_type = !merchant_initiated && usage === 'card_on_file' ? 'Regular' : paymentTypes[usage]
  const previous =
    stored_credential?.sequence === 'subsequent' ? stored_credential.network_transaction_id : null
  return {
    payment_type,
    merchant_initiated,
    ...(previous === null ? {} : { previous_payment_id: plainText(previous, previousPaymentLengthMax) }),
  }
}
