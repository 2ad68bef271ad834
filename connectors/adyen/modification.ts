/**
 * A change of an authorized payment. Adyen answers that it has received it, and tells by a notice what became of it:
 * there is nothing to ask.
 */
import {
  type HttpResponse,
  type JsonValue,
  type Operation,
  type OperationInput,
  type OperationOutcome,
  parseJsonObject,
} from '@coffer/core/connector.ts'
import type { Money } from '@coffer/core/money.ts'
import { identifierAt, objectAt, textAt } from '../answer-fields.ts'
import { adyenAmount, isSameMoney, moneyFromAdyen } from './amounts.ts'
import { merchantAccount, post } from './credentials.ts'
import { errorOutcome, unknownOutcome } from './errors.ts'

/**
 * @param amountOf what is sent as its amount, null for none.
 * @param more what it wants beside.
 */
export function modification(
  kind: 'captures' | 'cancels' | 'refunds' | 'amountUpdates',
  amountOf: (input: OperationInput) => Money | null,
  more: (input: OperationInput) => { [name: string]: JsonValue } = () => ({}),
): Operation {
  return {
    request: (input, context) => {
      const amount = amountOf(input)
      const body = {
        merchantAccount: merchantAccount(context.account),
        reference: input.operation_id,
        ...(amount === null ? {} : { amount: adyenAmount(amount) }),
        ...more(input),
      }
      return post(`/payments/${encodeURIComponent(input.payment_psp_reference)}/${kind}`, body, context)
    },
    response: (response, input) => modificationOutcome(response, input, amountOf(input)),
  }
}

function modificationOutcome(
  response: HttpResponse,
  input: OperationInput,
  asked: Money | null,
): OperationOutcome {
  if (response.status !== 201) return errorOutcome(response)
  const answer = parseJsonObject(response.body)
  const reference = identifierAt(answer, 'pspReference')
  if (reference === undefined || textAt(answer, 'status') !== 'received')
    return unknownOutcome('unexpected_answer', reference ?? null)
  if (textAt(answer, 'reference') !== input.operation_id)
    return unknownOutcome('operation_mismatch', reference)
  const told = objectAt(answer, 'amount')
  if (told !== undefined && asked !== null && !isSameMoney(asked, moneyFromAdyen(told)))
    return unknownOutcome('amount_mismatch', reference)
  return { kind: 'pending', psp_reference: reference }
}
