/** Gives captured money back, as often as there is some left. */
import type { JsonValue, Operation, RefundReason } from '@coffer/core/connector.ts'
import { modification } from './modification.ts'

type Fields = { [name: string]: JsonValue }

const reasons: Record<RefundReason, string> = {
  duplicate: 'DUPLICATE',
  fraudulent: 'FRAUD',
  requested_by_customer: 'CUSTOMER REQUEST',
}

export const refund: Operation = modification(
  'refunds',
  ({ amount }) => amount,
  ({ reason }): Fields => (reason === null ? {} : { merchantRefundReason: reasons[reason] }),
)
