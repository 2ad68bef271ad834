/**
 * What a field is, by its name, or by its object and its name: one word has one meaning all over the API. What a
 * schema says of a field itself goes before it.
 */
import type { JsonSchema } from './declared-routes.ts'

const meanings: Record<string, string> = {
  account_number: 'Beside a routing number, up to 17 digits.',
  account_type: 'Where it is known.',
  bytes_done: 'How far its rows have been carried out.',
  'import.dry_run': 'Verdicts only: nothing is kept.',
  'import.ended_at': 'RFC 3339; null until it has ended.',
  ignored_columns: 'Columns that mean nothing in this layout.',
  import: 'The id of an import.',
  'export.approval': 'The id of the approval that it used up.',
  'export.approved_by': 'Who approved it.',
  'export.bytes': 'Size of the file; null until it is ready.',
  'export.ended_at': 'RFC 3339; null until it is ready.',
  'export.expires_at': 'RFC 3339; its file is removed then.',
  'export.failure': 'Why there is no file, null where there is one or will be.',
  'export.filter': 'Which cards are in it.',
  'export.sha256': 'Of the file, in hexadecimal digits.',
  cards_done: 'Cards that are in it so far.',
  recipient_fingerprint: 'Of the OpenPGP key that the file is encrypted to.',
  'import.source': 'Whose ids the rows carry, such as `stripe`.',
  'card_source.source': 'Whose id it is, such as `stripe`.',
  keep_expired: 'Whether cards whose time is over are taken too.',
  mapping: 'What the columns of the file mean.',
  row: 'The row of the file, counted from 1; null where it is not one row.',
  rows_done: 'Rows that have their verdict.',
  rows_per_second: 'On average since it began.',
  rows_total: 'Without the header; null until the file was checked.',
  sha256: 'Of the file as it is uploaded, in hexadecimal digits.',
  source_id: 'What it is called at its source.',
  started_at: 'RFC 3339; null until it has begun.',
  amount: 'In minor units of the currency: 1999 EUR is 19.99 euros.',
  amount_authorized: 'What the issuer has promised, in minor units.',
  amount_captured: 'What has been taken, in minor units.',
  amount_refunded: 'What has been given back, in minor units.',
  actor: 'Who: the owner of the API key, or Coffer itself.',
  at: 'RFC 3339, in UTC.',
  attempts_30_days:
    'How often it was tried on the last 30 days, today included, in UTC; a few seconds behind.',
  attempts: 'Each try at a PSP, oldest first.',
  'attempt.decline': 'Why it was declined, null where it was not.',
  'attempt.failure': 'Why it failed without reaching the issuer, null where it did not.',
  'attempt.reason':
    'Why it goes through its connection: `named` in the request, `routed` by the rules, `failover` from the one before, or `retry`.',
  billing_address: 'As the issuer knows it; some PSPs pass it on for checking.',
  bank_account: 'What may be shown of it; null for a `text`.',
  base_url: 'The only origin requests of this connection go to.',
  bin: 'The first digits, which tell the issuer: eight or six, by the brand and the length of the number.',
  brand: 'The card network.',
  capture: '`automatic` takes the money at once; `manual` only authorizes it.',
  card: 'The id of a card.',
  'card_version.reason': '`created`, `imported`, `updated`, `replaced`, `status_changed` or `restored`.',
  card_version: 'The id of the version of the card data that was used.',
  cardholder_name: 'As it stands on the card.',
  city: 'City or town.',
  code: 'Decide by it; it is never reworded.',
  connection: 'The id of a connection. Left out of a payment, the oldest one of the merchant.',
  created_at: 'RFC 3339, in UTC.',
  client_certificate: 'How Coffer proves there who it is, where that is wanted (mutual TLS).',
  currency: 'ISO 4217, upper case.',
  cursor: '`next_cursor` of the page before; left out, from the start.',
  customer: "Your customer's id.",
  'event.data': 'The object as it was then.',
  'event.type': 'What happened, such as `payment.captured`.',
  'decline.action': 'What to do about it.',
  'decline.network_advice_code': "The network's advice, verbatim, where the PSP passes it on.",
  'decline.network_category': "Visa's category of declines, 1 to 4; null for other networks.",
  'decline.network_decline_code': "The network's own code, verbatim, where the PSP passes it on.",
  'decline.psp_code': "The PSP's own code, verbatim.",
  'decline.psp_code_namespace': 'Whose vocabulary `psp_code` is from.',
  'decline.reason': 'Why, in one vocabulary for all PSPs.',
  destination: 'The id of a destination.',
  'decline.retry_after': 'Not before then; null where nobody has said when.',
  'decline.source': 'Whose word the action is.',
  decline: 'Why the payment was declined, null where it was not.',
  country: 'ISO 3166-1, two letters, upper case.',
  ended_at: 'RFC 3339, in UTC.',
  expires_at: 'RFC 3339; null where it does not expire.',
  exp_month: 'Month of expiry, 1 to 12.',
  exp_year: 'Year of expiry, four digits.',
  'forward.failure': 'Why there is no answer, or no body of one; null where there is.',
  'forward.response': 'Only in the answer to the request that sent it: it is kept nowhere.',
  'failure.code': 'What went wrong.',
  'failure.message': 'More of it, for people.',
  failure: 'Why the payment failed without reaching the issuer, null where it did not.',
  fingerprint: 'The same for every card of yours with the same number.',
  holder_name: 'Whose account it is.',
  iban: 'International bank account number, ISO 13616.',
  id: 'Names the object; it never changes.',
  initiator: '`customer`: the cardholder is there. `merchant`: nobody is, so nobody can authenticate.',
  key_id: 'The id of the API key that was used, or of the user who had signed in.',
  last4: 'The last four digits.',
  last_replaced_at: 'When it got another number, RFC 3339; null where it never did.',
  last_used_at: 'When it was tried last, RFC 3339; null where it never was.',
  limit: 'How many at most.',
  line1: 'Street and number.',
  line2: 'What else belongs to the address.',
  merchant: 'The id of a merchant.',
  metadata: 'Texts of your own, by names of your own.',
  methods: 'With which it may be called; left out, with all of them.',
  name: 'Yours; no two of them are the same.',
  network_transaction_id: "The network's id of this transaction, where the PSP tells it.",
  next_cursor: 'Where the next page begins; null where there is none.',
  note: 'Why, in words.',
  number: 'The full card number.',
  number_erased_at: 'RFC 3339; null while the version can be gone back to.',
  object: 'What kind of object this is.',
  object_id: 'The object it happened to.',
  operations: 'Captures, cancels, refunds and increments of the payment, oldest first.',
  owner: 'Who has the key: two keys of one owner are one person.',
  payment: 'The id of a payment.',
  postal_code: 'As it is written in that country.',
  psp: 'The payment service provider.',
  psp_reference: "The PSP's id for it, null until there is one.",
  raw_code: 'What the source called it, verbatim.',
  reason: 'Why, in your words; it is kept with the object or in the audit trail.',
  reference: 'Yours, such as an invoice.',
  request_id: 'The `Request-Id` of the answer.',
  restored_version: 'The id of the version it was made from; null where it is no undo.',
  result: 'What became of it.',
  revoked_at: 'RFC 3339; null while the key is good.',
  'revealed_token.data': 'All that was kept.',
  routing: 'Which rule chose the connection; null where it was named, or there are no rules.',
  routing_number: 'Of a bank in the United States (ABA).',
  scopes: 'What the key may do.',
  settings: 'What the connector of that PSP asks for.',
  source: 'Who told it.',
  source_address: 'Where the request came from.',
  state: 'State, province or region.',
  status: 'Where it stands.',
  'token.type': 'What it keeps.',
  token: 'The id of a token.',
  updated_at: 'RFC 3339, in UTC.',
  value: 'The text itself.',
  version: 'The id of the current version of the card data.',
}

/** The schema, with a description for each field that has none of its own and a name that is known. */
export function explained(schema: JsonSchema, name = ''): JsonSchema {
  const { properties, items, ...rest } = schema as {
    properties?: Record<string, JsonSchema>
    items?: JsonSchema
  }
  const called = String(properties?.['object']?.['const'] ?? name.split('.').at(-1))
  return {
    ...rest,
    ...(items === undefined ? {} : { items: explained(items, name) }),
    ...(properties === undefined ? {} : { properties: explainedFields(properties, called) }),
  }
}

function explainedFields(properties: Record<string, JsonSchema>, called: string) {
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [
      name,
      withMeaning(explained(schema, name), name, called),
    ]),
  )
}

/** @param called the object the field belongs to. */
export function withMeaning(schema: JsonSchema, name: string, called = ''): JsonSchema {
  const known = [`${called}.${name}`, name].find((one) => Object.hasOwn(meanings, one))
  return 'description' in schema || known === undefined ? schema : { ...schema, description: meanings[known] }
}
