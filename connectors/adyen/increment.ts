/** Holds more of an authorization. To Adyen the amount is the new one in all, not what is added. */
import type { Operation } from '@coffer/core/connector.ts'
import { modification } from './modification.ts'

export const increment: Operation = modification('amountUpdates', ({ amount, authorized }) => ({
  ...amount,
  amount_minor: authorized.amount_minor + amount.amount_minor,
}))
