/**
 * Destinations: where a merchant's forwards may go. Whoever may forward cannot choose: an admin has listed the
 * origin, and if wanted the paths below which and the methods with which it may be called.
 */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { bodyHmac, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import type { Clock } from '@coffer/core/time.ts'
import { refuseCardNumberIn } from '../../cards/validation.ts'
import { withEachBodyKey } from '../../keys/fingerprints.ts'
import type { Keyring } from '../../keys/keyring.ts'
import { destinationSecretPlace, seal, unseal } from '../../keys/sealed-text.ts'
import { checkOrigin } from '../destination.ts'
import { checkClientCertificate, shownCertificate } from './client-certificate.ts'
import * as queries from './queries.ts'
import { type Destination, type Method, methods, type NewDestination } from './schemas.ts'

export type Destinations = ReturnType<typeof createDestinations>

/** With what is needed to send to it. */
export type OpenDestination = {
  destination_id: string
  origin: string
  path_prefix: string
  methods: readonly Method[]
  client: { certificate: string; private_key: Secret<string> } | undefined
}

/** A deletion takes effect within this time. */
const cacheMs = 2_000
const cachedMax = 10_000
const perOriginMax = 100

export function createDestinations(deps: {
  database: Database
  keyring: Keyring
  clock: Clock
  allowLoopback: boolean
}) {
  const opened = new Map<string, { at_ms: number; destinations: Promise<OpenDestination[]> }>()

  async function load(merchantId: string, origin: string): Promise<OpenDestination[]> {
    const rows = await queries.findDestinationsOf(deps.database, merchantId, origin, perOriginMax)
    return Promise.all(rows.map((row) => openedOf(deps.keyring, row)))
  }

  return {
    /** @throws Failure destination_not_allowed, destination_exists, client_certificate_invalid */
    async create(
      caller: Caller,
      input: NewDestination,
      idempotencyKey: string | null,
      serialize: (destination: Destination) => string,
    ): Promise<StoredAnswer> {
      const now = deps.clock.now()
      const origin = checkNewDestination(input, deps.allowLoopback, now)
      const { merchant_id } = caller
      const dataKey = await deps.keyring.forEncryption(merchant_id)
      const place = { merchant_id, destination_id: newId('destination', now.getTime()) }
      const clientKey = input.client_certificate?.private_key
      const row = {
        ...place,
        origin,
        path_prefix: input.path_prefix ?? '/',
        methods: input.methods ?? [...methods],
        client_certificate: input.client_certificate?.certificate ?? null,
        data_key_id: dataKey.data_key_id,
        client_key_encrypted:
          clientKey === undefined
            ? null
            : seal(dataKey, destinationSecretPlace(place, 'client_key'), clientKey),
        created_at: now,
      }
      const answer = serialize(destinationOf(row))
      const inserted = await withEachBodyKey(deps.keyring.fingerprints, ({ bodyKey }) =>
        queries.insertDestination(deps.database, {
          ...caller,
          ...row,
          created_at: now.toISOString(),
          audit_id: newId('audit', now.getTime()),
          event_id: newId('event', now.getTime()),
          idempotency_key: idempotencyKey,
          body_hmac: idempotencyKey === null ? null : bodyHmac(bodyKey, input),
          response_body: answer,
        }),
      )
      if (inserted.verdict === 'body_differs')
        throw new Failure('idempotency_key_reused', { param: 'Idempotency-Key' })
      if (inserted.verdict === 'exists') throw new Failure('destination_exists', { param: 'origin' })
      opened.delete(`${merchant_id}|${origin}`)
      return inserted.verdict === 'repeated' ? inserted.answer : { status: 201, body: answer }
    },

    async get(merchantId: string, destinationId: string): Promise<Destination> {
      const row = isId('destination', destinationId)
        ? await queries.findDestination(deps.database, merchantId, destinationId)
        : undefined
      if (row === undefined) throw new Failure('not_found')
      return destinationOf(row)
    },

    /** Oldest first. */
    async list(merchantId: string, page: { cursor?: string; limit: number }) {
      checkCursor('destination', page.cursor)
      const asked = { after: page.cursor ?? '', limit: page.limit }
      const rows = await queries.listDestinations(deps.database, merchantId, asked)
      return pageOf(rows.map(destinationOf), page.limit)
    },

    /** Nothing is sent there any more, from this process at once, from others within two seconds. */
    async remove(caller: Caller, destinationId: string): Promise<void> {
      const ids = { destination_id: destinationId, audit_id: newId('audit'), event_id: newId('event') }
      const isDeleted =
        isId('destination', destinationId) &&
        (await queries.deleteDestination(deps.database, { ...caller, ...ids }))
      if (!isDeleted) throw new Failure('not_found')
      opened.clear()
    },

    /** Those of an origin, with their secrets. */
    open(merchantId: string, origin: string): Promise<OpenDestination[]> {
      const name = `${merchantId}|${origin}`
      const known = opened.get(name)
      const now = performance.now()
      if (known !== undefined && now - known.at_ms < cacheMs) return known.destinations
      const destinations = load(merchantId, origin)
      destinations.catch(() => opened.delete(name))
      if (opened.size >= cachedMax) opened.clear()
      opened.set(name, { at_ms: now, destinations })
      return destinations
    },
  }
}

function checkNewDestination(input: NewDestination, allowLoopback: boolean, now: Date): string {
  refuseCardNumberIn('origin', input.origin)
  refuseCardNumberIn('path_prefix', input.path_prefix)
  const origin = checkOrigin(input.origin, { param: 'origin', allowLoopback, otherPorts: true })
  if (/\/(?:\.{0,2}\/|\.{1,2}$)/.test(input.path_prefix ?? ''))
    throw new Failure('destination_not_allowed', {
      param: 'path_prefix',
      detail: 'It has an empty segment, or one of dots.',
    })
  if (input.client_certificate !== undefined) checkClientCertificate(input.client_certificate, now)
  return origin
}

async function openedOf(keyring: Keyring, row: queries.DestinationRow): Promise<OpenDestination> {
  const { client_certificate: certificate, client_key_encrypted: sealed } = row
  const { destination_id, origin, path_prefix } = row
  const shared = { destination_id, origin, path_prefix, methods: row.methods }
  if (certificate === null || sealed === null) return { ...shared, client: undefined }
  const dataKey = await keyring.forDecryption(row.merchant_id, row.data_key_id)
  const privateKey = unseal(dataKey, destinationSecretPlace(row, 'client_key'), sealed)
  return { ...shared, client: { certificate, private_key: new Secret(privateKey) } }
}

function destinationOf(row: queries.DestinationRow): Destination {
  return {
    id: row.destination_id,
    object: 'destination',
    origin: row.origin,
    path_prefix: row.path_prefix,
    methods: row.methods,
    client_certificate: row.client_certificate === null ? null : shownCertificate(row.client_certificate),
    created_at: row.created_at.toISOString(),
  }
}
