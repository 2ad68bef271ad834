/** Lets go of what a PaymentIntent holds, or ends an intent that still waits for the cardholder. */
import { type HttpResponse, type Operation, parseJsonObject } from '@coffer/core/connector.ts'
import { objectAt, textAt } from '../answer-fields.ts'
import { isAbsenceFinal } from './absence.ts'
import { intentPath, readIntent, writeHeaders } from './credentials.ts'
import { operationError, stripeError } from './errors.ts'
import { isIntentOf, unknownOutcome } from './statuses.ts'

/** Statuses from which Stripe cancels, so a cancel that is asked for has not come yet. */
const cancelable = ['requires_payment_method', 'requires_capture', 'requires_confirmation', 'requires_action']

export const cancel: Operation = {
  request: (input, context) => ({
    method: 'POST',
    path: `${intentPath(input.payment_psp_reference)}/cancel`,
    headers: writeHeaders(context),
    body: { form: [['cancellation_reason', 'requested_by_customer']] },
  }),
  response(response, input) {
    const psp_reference = input.payment_psp_reference
    const intent = response.status === 200 ? parseJsonObject(response.body) : refusedIntent(response)
    // Canceled is what was asked for, whoever did it: the hold runs out, or somebody at Stripe lets go of it.
    if (isIntentOf(intent, input) && textAt(intent, 'status') === 'canceled')
      return { kind: 'succeeded', psp_reference }
    return response.status === 200
      ? unknownOutcome('unexpected_answer', psp_reference)
      : operationError(response)
  },
  look_up: {
    request: readIntent,
    response(response, input) {
      if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
      const intent = parseJsonObject(response.body)
      if (!isIntentOf(intent, input)) return unknownOutcome('unexpected_answer')
      const status = textAt(intent, 'status') ?? ''
      const psp_reference = input.payment_psp_reference
      if (status === 'canceled') return { kind: 'succeeded', psp_reference }
      if (cancelable.includes(status)) return { kind: 'absent', authoritative: isAbsenceFinal(input) }
      if (status === 'succeeded')
        return { kind: 'rejected', psp_code: 'captured', message: 'the payment was captured at the PSP' }
      return unknownOutcome('unlisted_status', psp_reference)
    },
  },
}

/** The intent inside a refusal that names its status as the reason. */
function refusedIntent(response: HttpResponse) {
  const error = stripeError(response)
  const isState =
    response.status === 400 && /^(payment|setup)_intent_unexpected_state$/.test(textAt(error, 'code') ?? '')
  return isState ? (objectAt(error, 'payment_intent') ?? objectAt(error, 'setup_intent')) : undefined
}
