/** What PSPs hold in place of cards: imported, shown, and given up. */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { bodyHmac, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import { checkCursor, limitOf, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { Static } from 'typebox'
import { cardInVault } from '../payments/vault-facts.ts'
import type { FindConnection } from '../routing/routing.ts'
import * as queries from './queries.ts'
import type { NewPspToken, PspToken, pspTokenListQuery } from './schemas.ts'

export type PspTokens = ReturnType<typeof createPspTokens>

export type PspTokensDeps = {
  database: Database
  vault: InternalClient
  connectors: ReadonlyMap<string, Connector>
  findConnection: FindConnection
  bodyKey: KeyObject
  clock: Clock
}

/** Gives the JSON text of a token as its response schema allows it. */
type SerializePspToken = (psp_token: PspToken) => string

/** After every id there is: where a list begins that goes from the newest to the oldest. */
const afterAllIds = 'ptk_~'

export function createPspTokens(deps: PspTokensDeps) {
  const { database } = deps

  /** The form of a token is its PSP's. @throws Failure */
  async function pspOf(merchantId: string, { connection, psp_token: token }: NewPspToken): Promise<string> {
    const found = isId('connection', connection)
      ? await deps.findConnection(merchantId, connection)
      : undefined
    const connector = found && deps.connectors.get(found.psp)
    if (connector === undefined) throw new Failure('connection_not_found', { param: 'connection' })
    const { psp, psp_tokens } = connector
    if (psp_tokens === undefined)
      throw new Failure('operation_not_supported', {
        param: 'connection',
        detail: 'Coffer cannot charge what this PSP holds.',
      })
    if (!new RegExp(psp_tokens.pattern).test(token))
      throw new Failure('invalid_request', { param: 'psp_token', detail: `Not a token of ${psp}.` })
    refuseCardNumberIn('psp_token', token)
    return psp
  }

  /** The number that the token is about to stand for: the vault knows, the events may be behind. @throws Failure */
  async function fingerprintOf(merchantId: string, cardId: string): Promise<string> {
    const card = await cardInVault(deps.vault, merchantId, cardId)
    if (card === undefined) throw new Failure('not_found')
    if (card.status !== 'active') throw new Failure('card_not_active')
    return card.fingerprint
  }

  return {
    /** 201 where it is new, 200 where the very token is there. @throws Failure before anything is written */
    async create(
      caller: Caller,
      cardId: string,
      input: NewPspToken,
      idempotencyKey: string | null,
      serialize: SerializePspToken,
    ): Promise<StoredAnswer> {
      const { merchant_id } = caller
      const fingerprint = await fingerprintOf(merchant_id, cardId)
      const psp = await pspOf(merchant_id, input)
      const at = deps.clock.now().toISOString()
      const psp_token: PspToken = {
        id: newId('pspToken', Date.parse(at)),
        object: 'psp_token',
        card: cardId,
        connection: input.connection,
        psp,
        fingerprint,
        token_last4: input.psp_token.slice(-4),
        source: 'imported',
        status: 'active',
        payment: null,
        created_at: at,
        updated_at: at,
      }
      const entry = {
        ...caller,
        psp_token,
        token: input.psp_token,
        idempotency_key: idempotencyKey,
        body_hmac: bodyHmac(deps.bodyKey, { card: cardId, ...input }),
        answer: { status: 201, body: serialize(psp_token) },
      }
      // Requests about one card wait for each other; those with one key about two cards do not.
      const written = await queries.insertPspToken(database, entry).catch((error: unknown) => {
        if (isTaken(error)) return queries.insertPspToken(database, entry)
        throw error
      })
      switch (written.verdict) {
        case 'body_differs':
          throw new Failure('idempotency_key_reused', { param: 'Idempotency-Key' })
        case 'card_deleted':
          throw new Failure('not_found')
        case 'known':
          return { status: 200, body: serialize(written.psp_token) }
        case 'repeated':
          return written.answer
        case 'inserted':
          return entry.answer
      }
    },

    async list(merchantId: string, cardId: string, asked: Static<typeof pspTokenListQuery>) {
      checkCursor('pspToken', asked.cursor)
      // A deleted card is found nowhere, as one that never was.
      const card = await cardInVault(deps.vault, merchantId, cardId)
      if (card === undefined) throw new Failure('not_found')
      const limit = limitOf(asked.limit)
      const before = asked.cursor ?? afterAllIds
      return pageOf(await queries.listPspTokens(database, merchantId, cardId, before, limit), limit)
    },

    async get(merchantId: string, pspTokenId: string): Promise<PspToken> {
      const found = isId('pspToken', pspTokenId)
        ? await queries.findPspToken(database, merchantId, pspTokenId)
        : undefined
      if (found === undefined) throw new Failure('not_found')
      return found
    },

    /** From the commit on, no attempt begins with it. At the PSP it stays what it is. */
    async delete(caller: Caller, pspTokenId: string): Promise<PspToken> {
      const deleted = isId('pspToken', pspTokenId)
        ? await queries.deletePspToken(database, caller, pspTokenId, deps.clock.now())
        : undefined
      if (deleted === undefined) throw new Failure('not_found')
      return deleted
    },

    /** @throws Failure not_found, also where the token has ended. */
    async reveal(caller: Caller, pspTokenId: string, reason: string) {
      refuseCardNumberIn('reason', reason)
      const found = isId('pspToken', pspTokenId)
        ? await queries.revealPspToken(database, caller, pspTokenId, reason)
        : undefined
      if (found === undefined) throw new Failure('not_found')
      return { ...found.shown, psp_token: found.token }
    },
  }
}

const isTaken = (error: unknown) => (error as { code?: unknown } | null)?.code === '23505'
