/** Takes the money that a payment holds. Adyen lets go of what is not captured then, but for accounts that may go on. */
import type { Connector } from '@coffer/core/connector.ts'
import { modification } from './modification.ts'

export const capture: NonNullable<Connector['capture']> = {
  ...modification('captures', ({ amount }) => amount),
  // Adyen enables it for an account that asks.
  several: ({ settings }) => settings['multiple_partial_captures'] === 'true',
}
