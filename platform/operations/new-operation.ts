import type { Operation } from '../payments/schemas.ts'

type Begun = Pick<Operation, 'id' | 'object' | 'payment' | 'amount' | 'currency' | 'reason' | 'final'>

/** An operation as it is from its intent until something is known of it. */
export function newOperation(begun: Begun, at: string): Operation {
  return {
    ...begun,
    status: 'sending',
    psp_reference: null,
    failure: null,
    parked: false,
    reversed: false,
    created_at: at,
    updated_at: at,
  }
}
