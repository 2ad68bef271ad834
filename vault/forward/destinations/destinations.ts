/**
 * Destinations: where a merchant's forwards may go. Whoever may forward cannot choose: an admin has listed the
 * origin, and if wanted the paths below which and the methods with which it may be called.
 */

import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import type { Clock } from '@coffer/core/time.ts'
import { withEachBodyKey } from '../../keys/fingerprints.ts'
import type { Keyring } from '../../keys/keyring.ts'
import { destinationSecretPlace, seal, unseal } from '../../keys/sealed-text.ts'
import { checkOrigin } from '../destination.ts'
import type { FinishingStep } from '../finishing/finishing-steps.ts'
import { checkClientCertificate, shownCertificate } from './client-certificate.ts'
import { type KeptStep, secretTextOf, stepsOf, withSecrets } from './finishing.ts'
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
  finishing: readonly FinishingStep[]
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
      const steps = stepsOf(input.finishing)
      const sealed = (field: 'client_key' | 'finishing_secret', text: string | null | undefined) =>
        typeof text === 'string' ? seal(dataKey, destinationSecretPlace(place, field), text) : null
      const row = {
        ...place,
        origin,
        path_prefix: input.path_prefix ?? '/',
        methods: input.methods ?? [...methods],
        client_certificate: input.client_certificate?.certificate ?? null,
        data_key_id: dataKey.data_key_id,
        client_key_encrypted: sealed('client_key', input.client_certificate?.private_key),
        finishing:
          steps.length === 0 ? null : steps.map(({ scheme, parameters }) => ({ scheme, parameters })),
        finishing_secret_encrypted: sealed('finishing_secret', secretTextOf(steps)),
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
      if (inserted.verdict === 'body_differs') throw keyReused()
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
  const { destination_id, origin, path_prefix, client_certificate: certificate } = row
  const dataKey = await keyring.forDecryption(row.merchant_id, row.data_key_id)
  const opened = (field: 'client_key' | 'finishing_secret', sealed: Buffer | null) =>
    sealed === null ? undefined : unseal(dataKey, destinationSecretPlace(row, field), sealed)
  const clientKey = opened('client_key', row.client_key_encrypted)
  const client =
    certificate === null || clientKey === undefined
      ? undefined
      : { certificate, private_key: new Secret(clientKey) }
  const secrets = opened('finishing_secret', row.finishing_secret_encrypted)
  const finishing = withSecrets(row.finishing ?? [], secrets)
  return { destination_id, origin, path_prefix, methods: row.methods, client, finishing }
}

function destinationOf(row: queries.DestinationRow): Destination {
  return {
    id: row.destination_id,
    object: 'destination',
    origin: row.origin,
    path_prefix: row.path_prefix,
    methods: row.methods,
    client_certificate: row.client_certificate === null ? null : shownCertificate(row.client_certificate),
    finishing: (row.finishing ?? []) as KeptStep[],
    created_at: row.created_at.toISOString(),
  }
}
