/** Takes money that a payment holds. Unless it is the last one, what is left stays held and can be captured too. */
import type { Connector } from '@coffer/core/connector.ts'
import { exactAmount } from './amounts.ts'
import { actionRequest, readActions } from './credentials.ts'
import { acceptedResponse, lookedUp } from './statuses.ts'

export const capture: NonNullable<Connector['capture']> = {
  several: true,
  request: (input, context) =>
    actionRequest('captures', input, context, {
      amount: exactAmount(input.amount),
      capture_type: input.final ? 'Final' : 'NonFinal',
    }),
  response: acceptedResponse,
  look_up: {
    request: readActions,
    response: (response, input) => lookedUp(response, input, 'Capture'),
  },
}
