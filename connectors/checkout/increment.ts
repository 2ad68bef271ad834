/**
 * Holds more. The issuer answers at once. Only a payment that was authorized as an estimate can grow: the
 * connection's setting `incremental_authorization` says so.
 */
import {
  type HttpResponse,
  type Operation,
  type OperationInput,
  type OperationOutcome,
  parseJsonObject,
} from '@coffer/core/connector.ts'
import { booleanAt, identifierAt, textAt } from '../answer-fields.ts'
import { exactAmount } from './amounts.ts'
import { actionRequest, readActions } from './credentials.ts'
import { isUnsettledCode } from './declines.ts'
import { operationError } from './errors.ts'
import { lookedUp, refusedAction, unknownOutcome } from './statuses.ts'

export const increment: Operation = {
  request: (input, context) =>
    actionRequest('authorizations', input, context, { amount: exactAmount(input.amount) }),
  response: incrementResponse,
  look_up: {
    request: readActions,
    response: (response, input) => lookedUp(response, input, 'Authorization'),
  },
}

function incrementResponse(response: HttpResponse, input: OperationInput): OperationOutcome {
  if (response.status !== 201) return operationError(response)
  const answer = parseJsonObject(response.body)
  const psp_reference = identifierAt(answer, 'action_id')
  if (psp_reference === undefined || textAt(answer, 'reference') !== input.operation_id)
    return unknownOutcome('unexpected_answer')
  const [approved, status] = [booleanAt(answer, 'approved'), textAt(answer, 'status')]
  if (approved === true && status === 'Authorized') return { kind: 'succeeded', psp_reference }
  if (approved !== false || status !== 'Declined')
    return unknownOutcome('contradicting_answer', psp_reference)
  return isUnsettledCode(textAt(answer, 'response_code'))
    ? unknownOutcome('unsettled_response_code', psp_reference)
    : refusedAction(answer)
}
