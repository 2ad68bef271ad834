/** What the answer to a payment says became of it, as an Outcome. */
import type { AuthorizeInput, Outcome } from '@coffer/core/connector.ts'
import type { Money } from '@coffer/core/money.ts'
import { identifierAt, type JsonObject, objectAt, textAt } from '../answer-fields.ts'
import { isSameMoney, moneyFromAdyen } from './amounts.ts'
import { declineFromPayment } from './declines.ts'
import { unknownOutcome } from './errors.ts'
import { tokenTold } from './psp-tokens.ts'
import { readReference } from './reference.ts'

type ResultOutcome = (answer: JsonObject, input: AuthorizeInput, psp_reference: string) => Outcome

const pending: ResultOutcome = (_answer, _input, psp_reference) => ({ kind: 'pending', psp_reference })

const actionRequired: ResultOutcome = (answer, _input, psp_reference) => {
  const url = textAt(answer, 'action.url')
  const isPage = textAt(answer, 'action.method') !== 'POST' && url?.startsWith('https://') === true
  return { kind: 'action_required', psp_reference, redirect_url: isPage ? url : null }
}

/** Refused, failed or canceled before anything was held: Adyen and the issuer have finished. */
const declined: ResultOutcome = (answer, _input, psp_reference) => ({
  kind: 'declined',
  decline: declineFromPayment(answer),
  psp_reference,
})

/** None of what we ask for can end so. */
const unexpected: ResultOutcome = (_answer, _input, psp_reference) =>
  unknownOutcome('unexpected_result', psp_reference)

/** Every `resultCode` (docs.adyen.com/online-payments/build-your-integration/payment-result-codes). */
const resultOutcomes: Record<string, ResultOutcome> = {
  Authorised: authorised,
  PartiallyAuthorised: authorised,
  Refused: declined,
  Error: declined,
  Cancelled: declined,
  Pending: pending,
  Received: pending,
  RedirectShopper: actionRequired,
  ChallengeShopper: actionRequired,
  IdentifyShopper: actionRequired,
  PresentToShopper: actionRequired,
  AuthenticationFinished: unexpected,
  AuthenticationNotRequired: unexpected,
  Success: unexpected,
}

/** The result codes this connector knows, for the test against Adyen's own list. */
export const knownResultCodes = Object.keys(resultOutcomes)

/** The outcome a payment tells; `unknown` for anything that is not exactly what was asked for. */
export function paymentOutcome(answer: JsonObject, input: AuthorizeInput): Outcome {
  const reference = identifierAt(answer, 'pspReference')
  if (reference === undefined) return unknownOutcome('unexpected_answer')
  const ours = textAt(answer, 'merchantReference') ?? textAt(answer, 'additionalData.merchantReference')
  if (ours !== undefined && readReference(ours)?.attempt_id !== input.attempt_id)
    return unknownOutcome('attempt_mismatch', reference)
  const code = textAt(answer, 'resultCode') ?? ''
  const outcome = Object.hasOwn(resultOutcomes, code) ? resultOutcomes[code] : undefined
  return outcome?.(answer, input, reference) ?? unknownOutcome('unlisted_status', reference)
}

/**
 * Captured means what we asked for: with a capture delay of zero hours Adyen captures at once and says nothing more,
 * unless the capture fails. A part is approved only where the account is set up so that it may be.
 */
function authorised(answer: JsonObject, input: AuthorizeInput, psp_reference: string): Outcome {
  const isPart = textAt(answer, 'resultCode') === 'PartiallyAuthorised'
  const amount = objectAt(answer, 'amount') === undefined && !isPart ? input.amount : authorisedAmount(answer)
  const isRight = isPart ? isLessThan(amount, input.amount) : isSameMoney(input.amount, amount)
  if (amount === undefined || !isRight) return unknownOutcome('amount_mismatch', psp_reference)
  const captured = input.capture === 'automatic' && amount.amount_minor > 0n
  const told = { ...networkIdentifiers(answer), ...tokenTold(answer) }
  return { kind: 'approved', amount, captured, psp_reference, ...told }
}

function authorisedAmount(answer: JsonObject): Money | undefined {
  const told = objectAt(answer, 'amount')
  if (told !== undefined) return moneyFromAdyen(told)
  const value = Number(textAt(answer, 'additionalData.authorisedAmountValue') ?? Number.NaN)
  const currency = textAt(answer, 'additionalData.authorisedAmountCurrency') ?? ''
  return moneyFromAdyen({ value, currency })
}

function isLessThan(amount: Money | undefined, asked: Money): boolean {
  return (
    amount?.currency === asked.currency &&
    amount.amount_minor > 0n &&
    amount.amount_minor < asked.amount_minor
  )
}

export function networkIdentifiers(answer: JsonObject) {
  return {
    network_transaction_id: textAt(answer, 'additionalData.networkTxReference') ?? null,
    transaction_link_id: textAt(answer, 'additionalData.transactionLinkId') ?? null,
  }
}
