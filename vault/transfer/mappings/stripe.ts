import type { Mapping } from './mapping.ts'

/**
 * Stripe's export of cards, CSV, or the same fields in JSON Lines. The card's id is kept as that of the row, the
 * customer's as the customer.
 * Source: Stripe, "Export file formats", card export fields (docs.stripe.com/get-started/data-migrations/
 * export-file-formats), which says that this format does not change.
 */
export const stripe: Mapping = {
  name: 'stripe',
  columns: {
    source_id: ['card.id'],
    number: ['card.number'],
    exp_month: ['card.exp_month'],
    exp_year: ['card.exp_year'],
    cardholder_name: ['card.name', 'name'],
    customer: ['id'],
    line1: ['card.address_line1'],
    line2: ['card.address_line2'],
    city: ['card.address_city'],
    state: ['card.address_state'],
    postal_code: ['card.address_zip'],
    country: ['card.address_country'],
    network_transaction_id: ['card.transaction_ids'],
  },
  detected_by: ['id', 'card.id', 'card.number'],
  other_columns: 'ignored',
}
