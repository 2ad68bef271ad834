/**
 * How Adyen wants to be told of a consent that the card be kept.
 *
 * Source: the Checkout API's `shopperInteraction`, `recurringProcessingModel`, `paymentMethod.networkPaymentReference`
 * and `additionalData.transactionLinkId`. The card is kept by us; see psp-tokens.ts for where Adyen stores it, too.
 */
import type { AuthorizeInput, CredentialUsage, JsonValue } from '@coffer/core/connector.ts'

type Model = 'CardOnFile' | 'Subscription' | 'UnscheduledCardOnFile'

/** The cardholder's consent, and what the merchant then does by itself. */
const models: Record<CredentialUsage, { consent: Model; merchant: Model }> = {
  card_on_file: { consent: 'CardOnFile', merchant: 'UnscheduledCardOnFile' },
  subscription: { consent: 'Subscription', merchant: 'Subscription' },
  installment: { consent: 'Subscription', merchant: 'Subscription' },
  unscheduled: { consent: 'UnscheduledCardOnFile', merchant: 'UnscheduledCardOnFile' },
  resubmission: { consent: 'UnscheduledCardOnFile', merchant: 'UnscheduledCardOnFile' },
  delayed_charge: { consent: 'UnscheduledCardOnFile', merchant: 'UnscheduledCardOnFile' },
  reauthorization: { consent: 'UnscheduledCardOnFile', merchant: 'UnscheduledCardOnFile' },
  no_show: { consent: 'UnscheduledCardOnFile', merchant: 'UnscheduledCardOnFile' },
}

export type Interaction = { shopperInteraction: 'Ecommerce' | 'ContAuth'; recurringProcessingModel?: Model }

export function interactionOf({ initiator, stored_credential, psp_token }: AuthorizeInput): Interaction {
  const usage = stored_credential?.usage ?? 'card_on_file'
  if (initiator === 'merchant')
    return { shopperInteraction: 'ContAuth', recurringProcessingModel: models[usage].merchant }
  if (stored_credential?.sequence === 'first')
    return { shopperInteraction: 'Ecommerce', recurringProcessingModel: models[usage].consent }
  // A cardholder who is there and pays with what is kept, whatever it was kept for.
  return stored_credential !== null || psp_token !== null
    ? { shopperInteraction: 'ContAuth', recurringProcessingModel: 'CardOnFile' }
    : { shopperInteraction: 'Ecommerce' }
}

/** What links a merchant's payment to the one in which the cardholder consented, whichever PSP made that. */
export function networkLink({ initiator, stored_credential }: AuthorizeInput): {
  paymentMethod: { [name: string]: JsonValue }
  additionalData: { [name: string]: JsonValue }
} {
  const isLinked = initiator === 'merchant' && stored_credential?.sequence === 'subsequent'
  const { network_transaction_id, transaction_link_id } = isLinked
    ? stored_credential
    : { network_transaction_id: null, transaction_link_id: null }
  return {
    paymentMethod: network_transaction_id === null ? {} : { networkPaymentReference: network_transaction_id },
    additionalData: transaction_link_id === null ? {} : { transactionLinkId: transaction_link_id },
  }
}
