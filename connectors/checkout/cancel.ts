/** Lets go of what a payment holds: a void. */
import type { Operation } from '@coffer/core/connector.ts'
import { actionRequest, readActions } from './credentials.ts'
import { acceptedResponse, lookedUp } from './statuses.ts'

export const cancel: Operation = {
  request: (input, context) => actionRequest('voids', input, context, {}),
  response: acceptedResponse,
  look_up: {
    request: readActions,
    response: (response, input) => lookedUp(response, input, 'Void'),
  },
}
