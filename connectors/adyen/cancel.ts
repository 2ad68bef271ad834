/** Lets go of what a payment holds, as a whole: no amount is named. */
import type { Operation } from '@coffer/core/connector.ts'
import { modification } from './modification.ts'

export const cancel: Operation = modification('cancels', () => null)
