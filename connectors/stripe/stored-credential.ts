/** What Stripe is told of the consent under which a card is kept or charged. */
import type { AuthorizeInput, CredentialUsage, StepContext } from '@coffer/core/connector.ts'

type Session = 'on_session' | 'off_session_recurring' | 'off_session_unscheduled'

/** In whose presence a card that was kept for this is going to be used. */
export const sessions: Record<CredentialUsage, Session> = {
  card_on_file: 'on_session',
  subscription: 'off_session_recurring',
  installment: 'off_session_recurring',
  unscheduled: 'off_session_unscheduled',
  resubmission: 'off_session_unscheduled',
  delayed_charge: 'off_session_unscheduled',
  reauthorization: 'off_session_unscheduled',
  no_show: 'off_session_unscheduled',
}

const cardOption = (name: string) => `payment_method_options[card]${name}`

/**
 * Anybody may say whether the cardholder is there and what the card is kept for. The network's identifiers go to
 * accounts only that Stripe has enabled for it, which their connection says in its settings.
 */
export function storedCredentialForm(
  { initiator, stored_credential }: AuthorizeInput,
  { account }: Pick<StepContext, 'account'>,
): [string, string][] {
  const form: [string, string][] = initiator === 'merchant' ? [['off_session', 'true']] : []
  if (stored_credential === null) return form
  const { usage, sequence, network_transaction_id } = stored_credential
  const isFirst = sequence === 'first'
  const session = initiator === 'customer' && !isFirst ? 'on_session' : sessions[usage]
  if (isFirst) form.push(['setup_future_usage', session === 'on_session' ? session : 'off_session'])
  if (account.settings['mit_exemption'] !== 'true') return form
  const type = `${isFirst ? 'setup' : 'stored'}_${session}`
  form.push([cardOption('[stored_credential_transaction_type]'), type])
  if (initiator === 'customer') return form
  return [
    ...form,
    network_transaction_id === null
      ? [cardOption('[mit_exemption][claim_without_transaction_id]'), 'true']
      : [cardOption('[mit_exemption][network_transaction_id]'), network_transaction_id],
  ]
}
