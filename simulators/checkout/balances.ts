/** What has become of a payment's money, out of its actions. */
import type { Action, Payment } from './state.ts'

export type Balances = {
  total_authorized: number
  total_voided: number
  available_to_void: number
  total_captured: number
  available_to_capture: number
  total_refunded: number
  available_to_refund: number
}

/** @param actions those to count: what was carried out, or all that was accepted. */
export function balancesOf(actions: Action[]): Balances {
  const sum = (type: Action['type']) =>
    actions
      .filter((action) => action.type === type && action.approved)
      .reduce((total, { amount }) => total + amount, 0)
  const total_authorized = sum('Authorization')
  const total_captured = sum('Capture')
  const total_refunded = sum('Refund')
  const isLetGo = actions.some(({ type, approved, is_final }) => approved && (type === 'Void' || is_final))
  const held = total_authorized - total_captured
  return {
    total_authorized,
    total_voided: isLetGo ? held : 0,
    available_to_void: isLetGo || total_captured > 0 ? 0 : held,
    total_captured,
    available_to_capture: isLetGo ? 0 : held,
    total_refunded,
    available_to_refund: total_captured - total_refunded,
  }
}

export function statusOf(payment: Payment, actions: Action[]): string {
  const [first] = actions
  if (first === undefined) return 'Pending'
  if (!first.approved) return 'Declined'
  if (payment.amount === 0) return 'Card Verified'
  const { total_voided, total_captured, available_to_capture, total_refunded } = balancesOf(actions)
  if (total_refunded > 0) return total_refunded === total_captured ? 'Refunded' : 'Partially Refunded'
  if (total_captured > 0) return available_to_capture === 0 ? 'Captured' : 'Partially Captured'
  return total_voided > 0 ? 'Voided' : 'Authorized'
}
