import type { Mapping } from './mapping.ts'

/**
 * Spreedly's files are made by hand and have no published header: taken are the names of its API for a payment method
 * and those it suggests for files sent to it.
 * Source: Spreedly, "One-Time Credit Card Import" (docs.spreedly.com/guides/migrating/one-time) and the payment
 * method of its API reference.
 */
export const spreedly: Mapping = {
  name: 'spreedly',
  columns: {
    source_id: ['token', 'payment_method_token', 'id'],
    number: ['number', 'card_number'],
    exp_month: ['month', 'expiration_month'],
    exp_year: ['year', 'expiration_year'],
    cardholder_name: ['full_name'],
    first_name: ['first_name'],
    last_name: ['last_name'],
    customer: ['customer_id', 'email'],
    line1: ['address1'],
    line2: ['address2'],
    city: ['city'],
    state: ['state'],
    postal_code: ['zip'],
    country: ['country'],
    network_transaction_id: ['network_transaction_id', 'stored_credential_original_transaction_id'],
    psp_reference: ['third_party_token'],
  },
  detected_by: ['first_name', 'last_name'],
  other_columns: 'ignored',
}
