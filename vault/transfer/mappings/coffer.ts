import type { Mapping } from './mapping.ts'

/** Our own layout: what an export gives, and what to write a file in that comes from nowhere in particular. */
export const coffer: Mapping = {
  name: 'coffer',
  columns: {
    source_id: ['source_id'],
    number: ['number'],
    exp_month: ['exp_month'],
    exp_year: ['exp_year'],
    cardholder_name: ['cardholder_name'],
    customer: ['customer'],
    line1: ['line1', 'billing_address.line1'],
    line2: ['line2', 'billing_address.line2'],
    city: ['city', 'billing_address.city'],
    state: ['state', 'billing_address.state'],
    postal_code: ['postal_code', 'billing_address.postal_code'],
    country: ['country', 'billing_address.country'],
    network_transaction_id: ['network_transaction_id'],
    psp_reference: ['psp_reference'],
    status: ['status'],
  },
  detected_by: ['source_id', 'number', 'exp_month', 'exp_year'],
  metadata_prefix: 'metadata.',
  other_columns: 'refused',
}
