/** Gives captured money back, as often as there is some left. */
import type { Operation } from '@coffer/core/connector.ts'
import { exactAmount } from './amounts.ts'
import { actionRequest, readActions } from './credentials.ts'
import { acceptedResponse, lookedUp } from './statuses.ts'

export const refund: Operation = {
  request: (input, context) =>
    actionRequest('refunds', input, context, { amount: exactAmount(input.amount) }),
  response: acceptedResponse,
  look_up: {
    request: readActions,
    response: (response, input) => lookedUp(response, input, 'Refund'),
  },
}
