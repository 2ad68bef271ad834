/**
 * One object of each kind for a merchant: what a path or a field that holds an id can be filled with. A new kind of
 * object gets its line here, so that every route which takes its id is tried with another merchant's.
 */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { generateKey } from 'openpgp'
import type { Api } from './api.ts'
import { eventually } from './product.ts'
import { type PublicRoute, textFields } from './routes.ts'
import { type KnownValues, knownValues } from './valid-requests.ts'

const recipient = generateKey({ userIDs: [{ name: 'Next vault' }], format: 'object' })

type Make = (api: Api) => Promise<string>

/** By the part of the path in front of the id, as in `/v1/cards/:id`. */
const makers: Record<string, Make> = {
  cards: async (api) => (await api.card()).id,
  tokens: async (api) => {
    const body = { type: 'text', data: { value: randomUUID() } }
    return (await api.call<{ id: string }>('POST', '/v1/tokens', { body })).body.id
  },
  versions: async (api) => {
    const { body } = await api.call<{ version: string }>('GET', `/v1/cards/${await ownId(api, 'cards')}`)
    return body.version
  },
  payments: async (api) => (await api.createPayment({ card: await ownId(api, 'cards') })).body.id,
  payment_batches: async (api) => {
    const row = { row_id: 'one', card: await ownId(api, 'cards'), amount: 100, currency: 'EUR' }
    const headers = { 'content-type': 'application/jsonl' }
    const sent = { text: JSON.stringify(row), key: randomUUID(), headers }
    const { id } = (await api.call<{ id: string }>('POST', '/v1/payment_batches', sent)).body
    // At its end, so that nothing changes behind the test.
    return eventually(async () => {
      const { body } = await api.call<{ ended_at: string | null }>('GET', `/v1/payment_batches/${id}`)
      return body.ended_at !== null && id
    })
  },
  operations: async (api) => {
    const path = `/v1/payments/${await ownId(api, 'payments')}/refunds`
    return (await api.call<{ id: string }>('POST', path, { body: {}, key: randomUUID() })).body.id
  },
  psp_tokens: async (api) => {
    const path = `/v1/cards/${(await api.card()).id}/psp_tokens`
    const body = { connection: await ownId(api, 'connections'), psp_token: 'pm_card_visa' }
    return (await api.call<{ id: string }>('POST', path, { body })).body.id
  },
  agreements: async (api) => {
    const body = { card: await ownId(api, 'cards'), usage: 'subscription' }
    return (await api.call<{ id: string }>('POST', '/v1/agreements', { body })).body.id
  },
  connections: async (api) => {
    const { body } = await api.call<{ data: { id: string }[] }>('GET', '/v1/connections')
    return body.data[0]!.id
  },
  destinations: async (api) => {
    const body = { origin: `https://${randomUUID()}.example.com` }
    return (await api.call<{ id: string }>('POST', '/v1/destinations', { body })).body.id
  },
  forward: async (api) => {
    const { body: connections } = await api.call<{ data: { base_url: string }[] }>('GET', '/v1/connections')
    const origin = connections.data[0]!.base_url
    await api.call('POST', '/v1/destinations', { body: { origin } })
    const body = { card: await ownId(api, 'cards'), method: 'GET', url: `${origin}/_sim/faults` }
    return (await api.call<{ id: string }>('POST', '/v1/forward', { body, key: randomUUID() })).body.id
  },
  imports: async (api) => {
    const body = { sha256: '0'.repeat(64) }
    return (await api.call<{ id: string }>('POST', '/v1/imports', { body })).body.id
  },
  rotations: async (api) => {
    type Rotation = { id: string; state: string }
    const path = '/v1/keys/rotations'
    await api.call('POST', path, { body: { kind: 'data' } })
    // At its end, so that nothing changes behind the test.
    return eventually(async () => {
      const [newest] = (await api.call<{ data: Rotation[] }>('GET', path)).body.data
      return newest?.state !== 'running' && newest?.id
    })
  },
  exports: async (api) => {
    const { publicKey } = await recipient
    const parameters = { recipient: publicKey.getFingerprint().toUpperCase() }
    const asked = { action: 'export', reason: 'moving to another vault', parameters }
    const approval = (await api.call<{ id: string }>('POST', '/v1/approvals', { body: asked })).body.id
    await api.approve!(approval)
    const body = { recipient_public_key: publicKey.armor(), reason: 'moving to another vault', approval }
    const { id } = (await api.call<{ id: string }>('POST', '/v1/exports', { body })).body
    await eventually(async () => {
      const answer = await api.call<{ state: string }>('GET', `/v1/exports/${id}`)
      return answer.body.state === 'ready'
    })
    return id
  },
  fingerprints: async (api) => (await api.card()).fingerprint,
  api_keys: async (api) => {
    const body = { name: 'A key', owner: 'ada@example.com', scopes: ['cards:read'] }
    return (await api.call<{ id: string }>('POST', '/v1/api_keys', { body })).body.id
  },
  users: async (api) => {
    const body = { issuer: 'https://login.example', subject: randomUUID(), name: 'Ada', scopes: ['admin'] }
    return (await api.call<{ id: string }>('POST', '/v1/users', { body })).body.id
  },
  approvals: async (api) => {
    const body = { action: 'export', reason: 'moving to another vault' }
    return (await api.call<{ id: string }>('POST', '/v1/approvals', { body })).body.id
  },
  merchants: async (api) => {
    const { body } = await api.call<{ data: { merchant: string }[] }>('GET', '/v1/api_keys')
    return body.data[0]!.merchant
  },
}

/** Fields of bodies and queries that hold the id of an object, by its kind. */
export const idFields: Record<string, string> = {
  agreement: 'agreements',
  approval: 'approvals',
  card: 'cards',
  connection: 'connections',
  payment: 'payments',
  fingerprint: 'fingerprints',
  merchant: 'merchants',
  object: 'cards',
  operation: 'operations',
  token: 'tokens',
  version: 'versions',
}

/** Text fields that hold no id of ours: the merchant's own words, card data, and places in a list. */
export const plainFields = new Set(
  `object_id issuer issuer_country bin subject number cvc cardholder_name iban routing_number account_number
   holder_name value line1 line2 city region state postal_code country phone email customer currency
   reference reason note psp psp_reference name owner base_url secret webhook_secret action actor expires_at created_after
   rows_per_second_max start_at
   created_before from to request_id result after as_of cursor limit origin path_prefix certificate private_key raw_code url
   public_key key_id key_id_header merchant_id consumer_key body sha256 source source_id share
   recipient_public_key description consented_at network_transaction_id transaction_link_id psp_token`.split(
    /\s+/,
  ),
)

const made = new WeakMap<Api, Map<string, Promise<string>>>()

/** The id of the merchant's object of that kind, made when it is first asked for. */
export async function ownId(api: Api, kind: string): Promise<string> {
  const make = makers[kind]
  if (make === undefined) throw new Error(`test/support/own-objects.ts does not say how to make ${kind}`)
  const known = made.get(api) ?? new Map<string, Promise<string>>()
  made.set(api, known)
  const id = known.get(kind) ?? make(api)
  known.set(kind, id)
  return id
}

/** The kind of object that a path parameter names, undefined where the path has none. */
export const kindInPath = (url: string): string | undefined => /\/([a-z_]+)\/:[a-z_]+/.exec(url)?.[1]

export async function idOfOwn(api: Api, url: string): Promise<string | undefined> {
  const kind = kindInPath(url)
  return kind === undefined ? undefined : ownId(api, kind)
}

/** Of an object that nobody else was told of. */
export async function newIdOfOwn(api: Api, url: string): Promise<string | undefined> {
  const kind = kindInPath(url)
  return kind === undefined ? undefined : makers[kind]!(api)
}

/** What the routes' fields mean, with the merchant's own objects where an id is wanted. */
export async function ownValues(api: Api, routes: PublicRoute[]): Promise<KnownValues> {
  const fields = new Set(routes.flatMap(({ body, query }) => [...textFields(body), ...textFields(query)]))
  const wanted = Object.entries(idFields).filter(([field]) => fields.has(field))
  const ids = await Promise.all(
    wanted.map(async ([field, kind]) => [field, fc.constant(await ownId(api, kind))] as const),
  )
  // A forward goes where this merchant's may go.
  if (fields.has('url')) await ownId(api, 'forward')
  // An address that this merchant's connection has already: payments go on working whoever changes it.
  const { body } = await api.call<{ data: { id: string; base_url: string }[] }>('GET', '/v1/connections')
  const cards = fc.constant([await ownId(api, 'cards')])
  const { base_url, id: connection } = body.data[0]!
  // Rules that send payments where they would go without.
  const use = [{ connection }]
  return {
    ...knownValues,
    ...Object.fromEntries(ids),
    cards,
    rules: fc.constant([{ name: 'Shop', when: { metadata: { shop: '1' } }, use }]),
    use: fc.constant(use),
    base_url: fc.constant(base_url),
    url: fc.constant(`${base_url}/_sim/faults`),
  }
}
