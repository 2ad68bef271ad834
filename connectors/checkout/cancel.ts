/** Lets go of what a payment holds: a void. */
import type { HttpResponse, Operation } from '@coffer/core/connector.ts'
import { booleanAt, identifierAt, textAt } from '../answer-fields.ts'
import { actionRequest, readActions } from './credentials.ts'
import { acceptedResponse, actionsOf, lookedUp } from './statuses.ts'

export const cancel: Operation = {
  request: (input, context) => actionRequest('voids', input, context, {}),
  response: acceptedResponse,
  look_up: {
    request: readActions,
    response(response, input) {
      const told = lookedUp(response, input, 'Void')
      // Let go of is what was asked for, whoever did it.
      const psp_reference = told.kind === 'absent' ? approvedVoid(response) : undefined
      return psp_reference === undefined ? told : { kind: 'succeeded', psp_reference }
    },
  },
}

function approvedVoid(response: HttpResponse): string | undefined {
  const voided = (actionsOf(response) ?? []).find(
    (action) => textAt(action, 'type') === 'Void' && booleanAt(action, 'approved') === true,
  )
  return identifierAt(voided, 'id')
}
