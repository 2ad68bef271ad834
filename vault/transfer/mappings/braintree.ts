import type { Mapping } from './mapping.ts'

/**
 * Braintree's export of a vault: CSV, a card a row beside its customer; the card's columns begin with `credit_card.`,
 * its address is written flat or below `billing_address`, the expiry in one column or in two.
 * Source: Braintree, "Data Migration: Exports" and "Imports" (developer.paypal.com/braintree/articles/get-started/
 * data-migration); the names within an address are those of its API.
 */
export const braintree: Mapping = {
  name: 'braintree',
  columns: {
    source_id: ['credit_card.token'],
    number: ['credit_card.number'],
    exp_month: ['credit_card.expiration_month'],
    exp_year: ['credit_card.expiration_year'],
    exp: ['credit_card.expiration', 'credit_card.expiration_date'],
    cardholder_name: ['credit_card.cardholder_name'],
    first_name: ['first_name'],
    last_name: ['last_name'],
    customer: ['id'],
    line1: addressColumns('street_address'),
    line2: addressColumns('extended_address'),
    city: addressColumns('locality'),
    state: addressColumns('region'),
    postal_code: addressColumns('postal_code'),
    country: addressColumns('country_code_alpha2'),
    network_transaction_id: [
      'credit_card.network_transaction_id',
      'credit_card.network_transaction_identifier',
    ],
  },
  detected_by: ['id', 'credit_card.token', 'credit_card.number'],
  other_columns: 'ignored',
}

function addressColumns(name: string): string[] {
  return [`credit_card.billing_address.${name}`, `billing_address.${name}`, `address.${name}`, name]
}
