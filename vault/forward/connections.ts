/**
 * Connections: a merchant's accounts at PSPs. The secret and the destination stay here; everybody else knows a
 * connection by its id and its public settings.
 */

import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { ConnectionFacts } from '@coffer/core/internal-api.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import { type DataKey, isKeysDestroyed, type Keyring } from '../keys/keyring.ts'
import { connectionSecretPlace, type Place, seal, unseal, webhookSecretPlace } from '../keys/sealed-text.ts'
import * as queries from './connection-queries.ts'
import { checkBaseUrl } from './destination.ts'
import type { Connection, ConnectionChange, NewConnection } from './schemas.ts'

export type Connections = ReturnType<typeof createConnections>

export type OpenConnection = { connection_id: string; origin: string; secret: Secret<string> }

/** A change of a secret or destination takes effect within this time. */
const cacheMs = 2_000
const cachedMax = 10_000

export function createConnections(deps: { database: Database; keyring: Keyring; allowLoopback: boolean }) {
  const opened = new Map<string, { at_ms: number; connection: Promise<OpenConnection> }>()

  async function sealed(merchantId: string, place: Place, secret: string) {
    const dataKey = await deps.keyring.forEncryption(merchantId)
    return { data_key_id: dataKey.data_key_id, secret_encrypted: seal(dataKey, place, secret) }
  }

  /** The two secrets of a connection, null where none is given. */
  async function sealedSecrets(
    merchant_id: string,
    connection_id: string,
    { secret, webhook_secret }: Pick<ConnectionChange, 'secret' | 'webhook_secret'>,
  ) {
    const row = { merchant_id, connection_id }
    const sealOne = (place: Place, text: string | undefined) =>
      text === undefined ? null : sealed(merchant_id, place, text)
    const [own, webhook] = await Promise.all([
      sealOne(connectionSecretPlace(row), secret),
      sealOne(webhookSecretPlace(row), webhook_secret),
    ])
    return { own, webhook }
  }

  /** Without its secret a connection is none. */
  async function openKey(merchantId: string, dataKeyId: string): Promise<DataKey> {
    try {
      return await deps.keyring.forDecryption(merchantId, dataKeyId)
    } catch (error) {
      throw isKeysDestroyed(error) ? new Failure('connection_not_found', { cause: error }) : error
    }
  }

  async function load(merchantId: string, connectionId: string): Promise<OpenConnection> {
    const row = await queries.findConnection(deps.database, merchantId, connectionId)
    if (row === undefined) throw new Failure('connection_not_found')
    const dataKey = await openKey(merchantId, row.data_key_id)
    return {
      connection_id: row.connection_id,
      origin: checkBaseUrl(row.base_url, deps.allowLoopback),
      secret: new Secret(unseal(dataKey, connectionSecretPlace(row), row.secret_encrypted)),
    }
  }

  return {
    async create(caller: Caller, input: NewConnection): Promise<Connection> {
      refuseCardNumberIn('psp', input.psp)
      refuseCardNumberIn('name', input.name)
      refuseCardNumbersIn(input)
      const connectionId = newId('connection')
      const secrets = await sealedSecrets(caller.merchant_id, connectionId, input)
      const row = await queries.insertConnection(deps.database, {
        ...caller,
        ...secrets.own!,
        webhook_secret: secrets.webhook,
        connection_id: connectionId,
        psp: input.psp,
        name: input.name,
        base_url: checkBaseUrl(input.base_url, deps.allowLoopback),
        settings: JSON.stringify(input.settings ?? {}),
        audit_id: newId('audit'),
        event_id: newId('event'),
      })
      if (row === undefined) throw new Failure('connection_exists', { param: 'name' })
      return connectionOf(row)
    },

    async get(merchantId: string, connectionId: string): Promise<Connection> {
      const row = isId('connection', connectionId)
        ? await queries.findConnection(deps.database, merchantId, connectionId)
        : undefined
      if (row === undefined) throw new Failure('not_found')
      return connectionOf(row)
    },

    /** Oldest first. */
    async list(merchantId: string, page: { cursor?: string; limit: number }) {
      checkCursor('connection', page.cursor)
      const asked = { after: page.cursor ?? '', limit: page.limit }
      const rows = await queries.listConnections(deps.database, merchantId, asked)
      return pageOf(rows.map(connectionOf), page.limit)
    },

    /** What may be known outside of the one named, else of the oldest active. @throws Failure connection_not_found */
    async facts(merchantId: string, connectionId: string | null): Promise<ConnectionFacts> {
      const row =
        connectionId === null
          ? await queries.findOldestActive(deps.database, merchantId)
          : await queries.findConnection(deps.database, merchantId, connectionId)
      if (row === undefined) throw new Failure('connection_not_found')
      return {
        connection_id: row.connection_id,
        psp: row.psp,
        status: row.status,
        settings: row.settings,
      }
    },

    async change(caller: Caller, connectionId: string, input: ConnectionChange): Promise<Connection> {
      if (!isId('connection', connectionId)) throw new Failure('not_found')
      refuseCardNumbersIn(input)
      const { own, webhook } = await sealedSecrets(caller.merchant_id, connectionId, input)
      const row = await queries.updateConnection(deps.database, {
        ...caller,
        connection_id: connectionId,
        base_url: input.base_url === undefined ? null : checkBaseUrl(input.base_url, deps.allowLoopback),
        data_key_id: own?.data_key_id ?? null,
        secret_encrypted: own?.secret_encrypted ?? null,
        webhook_secret: webhook,
        settings: input.settings === undefined ? null : JSON.stringify(input.settings),
        status: input.status ?? null,
        audit_id: newId('audit'),
        event_id: newId('event'),
      })
      if (row === undefined) throw new Failure('not_found')
      opened.delete(`${caller.merchant_id}|${connectionId}`)
      return connectionOf(row)
    },

    /** With its secret, for sending. @throws Failure connection_not_found, also for another merchant's. */
    open(merchantId: string, connectionId: string): Promise<OpenConnection> {
      const name = `${merchantId}|${connectionId}`
      const known = opened.get(name)
      const now = performance.now()
      if (known !== undefined && now - known.at_ms < cacheMs) return known.connection
      const connection = load(merchantId, connectionId)
      connection.catch(() => opened.delete(name))
      if (opened.size >= cachedMax) opened.clear()
      opened.set(name, { at_ms: now, connection })
      return connection
    },
  }
}

/** In a host name it would go into events and answers; as a secret it would leave the vault as one. */
function refuseCardNumbersIn({ base_url, secret, webhook_secret, settings = {} }: ConnectionChange): void {
  refuseCardNumberIn('base_url', base_url)
  refuseCardNumberIn('secret', secret)
  refuseCardNumberIn('webhook_secret', webhook_secret)
  for (const text of Object.entries(settings).flat()) refuseCardNumberIn('settings', text)
}

function connectionOf(row: queries.ConnectionRow): Connection {
  return {
    id: row.connection_id,
    object: 'connection',
    psp: row.psp,
    name: row.name,
    status: row.status,
    base_url: row.base_url,
    has_webhook_secret: row.has_webhook_secret,
    settings: row.settings,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}
