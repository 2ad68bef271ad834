/** Verification of a card without charging it: the card becomes a PaymentMethod, which a SetupIntent tries. */
import {
  type Absent,
  type AuthorizeInput,
  type HttpRequest,
  type HttpResponse,
  type Outcome,
  parseJsonObject,
  type Step,
  type StepContext,
  type SyncInput,
} from '@coffer/core/connector.ts'
import { arrayAt, identifierAt, isObject, type JsonObject, objectAt, textAt } from '../answer-fields.ts'
import { isAbsenceFinal } from './absence.ts'
import { createPaymentMethod } from './authorize.ts'
import { readHeaders, writeHeaders } from './credentials.ts'
import { declineFromError } from './declines.ts'
import { moneyStepError } from './errors.ts'
import { redirectUrl, unknownOutcome } from './statuses.ts'

/** No money moves by it; it is treated as if, so that what the issuer said is not lost and not asked for twice. */
const createSetupIntent: Step<AuthorizeInput> = {
  name: 'setup_intents',
  moves_money: true,
  resendable_without_cvc: true,
  request: (input, context) => ({
    method: 'POST',
    path: '/v1/setup_intents',
    headers: writeHeaders(context),
    body: {
      form: [
        ['confirm', 'true'],
        ['payment_method', paymentMethodOf(context)],
        ['payment_method_types[0]', 'card'],
        ['metadata[coffer_attempt]', input.attempt_id],
        ['metadata[coffer_payment]', input.payment_id],
      ],
    },
  }),
  response(response, input) {
    if (response.status !== 200) return moneyStepError(response, 'setup_intent')
    const setup = parseJsonObject(response.body)
    return setup === undefined ? unknownOutcome('unexpected_answer') : setupOutcome(setup, input)
  },
}

export const verify: Step<AuthorizeInput>[] = [createPaymentMethod, createSetupIntent]

function paymentMethodOf({ answers }: StepContext): string {
  const payment_method = answers['payment_method']
  if (payment_method === undefined) throw new Error('the payment_methods step has no answer')
  return payment_method
}

type SetupStatus = (setup: JsonObject, input: AuthorizeInput, psp_reference: string) => Outcome

/** Every status of a SetupIntent (docs.stripe.com/payments/setupintents/lifecycle). */
const setupStatuses: Record<string, SetupStatus> = {
  succeeded: (_setup, { amount }, psp_reference) => ({
    kind: 'approved',
    amount,
    captured: false,
    psp_reference,
    network_transaction_id: null,
    transaction_link_id: null,
  }),
  processing: (_setup, _input, psp_reference) => ({ kind: 'pending', psp_reference }),
  requires_action: (setup, _input, psp_reference) => ({
    kind: 'action_required',
    psp_reference,
    redirect_url: redirectUrl(setup),
  }),
  requires_confirmation: (_setup, _input, reference) => unknownOutcome('not_confirmed', reference),
  requires_payment_method: declinedSetup,
  canceled: () => ({
    kind: 'rejected',
    psp_code: 'canceled',
    message: 'the verification was canceled at the PSP',
  }),
}

/** The statuses this connector knows, for the test against Stripe's own list. */
export const knownSetupStatuses = Object.keys(setupStatuses)

export function setupOutcome(setup: JsonObject, input: AuthorizeInput): Outcome {
  const reference = identifierAt(setup, 'id')
  if (textAt(setup, 'object') !== 'setup_intent' || reference === undefined)
    return unknownOutcome('unexpected_answer')
  if (textAt(setup, 'metadata.coffer_attempt') !== input.attempt_id)
    return unknownOutcome('attempt_mismatch', reference)
  const status = textAt(setup, 'status') ?? ''
  const statusOutcome = Object.hasOwn(setupStatuses, status) ? setupStatuses[status] : undefined
  return statusOutcome?.(setup, input, reference) ?? unknownOutcome('unlisted_status', reference)
}

function declinedSetup(setup: JsonObject, _input: AuthorizeInput, psp_reference: string): Outcome {
  const error = objectAt(setup, 'last_setup_error')
  if (error === undefined || textAt(error, 'type') !== 'card_error')
    return unknownOutcome('unexplained_failure', psp_reference)
  return { kind: 'declined', decline: declineFromError(error), psp_reference }
}

/** What became of a verification: its PaymentMethod was made for this attempt alone. */
export const syncSetup = {
  request: (_input: SyncInput, context: StepContext): HttpRequest => ({
    method: 'GET',
    path: `/v1/setup_intents?payment_method=${encodeURIComponent(paymentMethodOf(context))}&limit=100`,
    headers: readHeaders(),
    body: null,
  }),
  response(response: HttpResponse, input: SyncInput): Outcome | Absent {
    if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
    const list = parseJsonObject(response.body)
    const setups = arrayAt(list, 'data')
    if (textAt(list, 'object') !== 'list' || setups === undefined) return unknownOutcome('unexpected_answer')
    const [first, second] = setups
    if (second !== undefined) return unknownOutcome('several_verifications')
    if (first === undefined) return { kind: 'absent', authoritative: isAbsenceFinal(input) }
    return isObject(first) ? setupOutcome(first, input) : unknownOutcome('unexpected_answer')
  },
}
