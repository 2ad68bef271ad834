/** Tokens: secrets beside cards, kept with the same care. What is written goes through group commit. */

import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { CardsDeps } from '../cards/cards.ts'
import { pageOfList } from '../cursors.ts'
import { withEachBodyKey } from '../keys/fingerprints.ts'
import { seal, tokenDataPlace, unseal } from '../keys/sealed-text.ts'
import * as queries from './queries.ts'
import type { BankAccount, NewToken, RevealedToken, Token, TokenData } from './schemas.ts'
import { validateNewToken } from './validation.ts'

export type Tokens = ReturnType<typeof createTokens>

export type TokensDeps = Omit<CardsDeps, 'cvcLeases'>

/** Gives the JSON text of a token as its response schema allows it. */
export type SerializeToken = (token: Token) => string

/** What a token gives to a request that is filled, by name: `{{token.iban}}`. */
export type TokenValues = Partial<Record<keyof TokenData | 'country', string>>

type Inserted = Exclude<queries.TokenInserted, { verdict: 'hashed_for_another_state' }>
type Unhashed = Omit<queries.TokenInsert, keyof queries.AccountHashes | 'body_hmac'>

const limits = { batch_max: 128, in_flight_max: 1, queue_max: 4_000 }

export function createTokens(deps: TokensDeps) {
  const creations = createGroupCommit<queries.TokenInsert, queries.TokenInserted>({
    name: 'tokens.create',
    write: (entries) => queries.insertTokens(deps.database, entries),
    ...limits,
  })
  const lookups = createGroupCommit<queries.TokenKey, queries.TokenRow | undefined>({
    name: 'tokens.read',
    write: (entries) => queries.findTokens(deps.database, entries),
    ...limits,
    in_flight_max: 2,
  })
  const deletions = createGroupCommit<queries.TokenDeletion, boolean>({
    name: 'tokens.delete',
    write: (entries) => queries.deleteTokens(deps.database, entries),
    ...limits,
  })

  async function find(merchantId: string, tokenId: string): Promise<queries.TokenRow> {
    if (!isId('token', tokenId)) throw new Failure('not_found')
    const row = await lookups.add({ merchant_id: merchantId, token_id: tokenId })
    if (row === undefined) throw new Failure('not_found')
    return row
  }

  async function dataOf(row: queries.TokenRow): Promise<TokenData> {
    const dataKey = await deps.keyring.forDecryption(row.merchant_id, row.data_key_id)
    return tokenDataOf(unseal(dataKey, tokenDataPlace(row), row.data_encrypted))
  }

  /** Hashed as the database asks for it, again where that has changed meanwhile. */
  async function insert(input: NewToken, account: string | null, entry: Unhashed): Promise<Inserted> {
    const { fingerprints } = deps.keyring
    const hashes = fingerprints.hashesOf(entry.merchant_id, account ?? '')
    const inserted = await withEachBodyKey(fingerprints, ({ bodyKey }) =>
      creations.add({
        ...entry,
        ...(account === null ? { ...hashes, number_hmac: null, next_number_hmac: null } : hashes),
        body_hmac: entry.idempotency_key === null ? null : bodyHmac(bodyKey, input),
      }),
    )
    if (inserted.verdict !== 'hashed_for_another_state') return inserted
    await fingerprints.refresh()
    return insert(input, account, entry)
  }

  return {
    /**
     * Keeps a new token. Acknowledged means: token, audit record, event and idempotency record are committed,
     * together. The same key with the same body gives the first answer again.
     * @throws Failure invalid_request, bank_account_invalid, card_number_in_wrong_field, idempotency_key_reused
     */
    async create(
      caller: Caller,
      input: NewToken,
      idempotencyKey: string | null,
      serialize: SerializeToken,
    ): Promise<StoredAnswer> {
      const now = deps.clock.now()
      const { merchant_id } = caller
      const data = validateNewToken(input)
      const dataKey = await deps.keyring.forEncryption(merchant_id)
      const account = accountOf(data)
      const fingerprintIfNew = newId('fingerprint', now.getTime())
      const token = newTokenOf(input, data, account === null ? null : fingerprintIfNew, now)
      const answer = serialize(token)
      const place = tokenDataPlace({ merchant_id, token_id: token.id })
      const inserted = await insert({ ...input, data }, account, {
        ...caller,
        token,
        fingerprint_if_new: fingerprintIfNew,
        data_key_id: dataKey.data_key_id,
        data_encrypted: seal(dataKey, place, Buffer.from(JSON.stringify(data)).toString('latin1')),
        audit_id: newId('audit', now.getTime()),
        event_id: newId('event', now.getTime()),
        idempotency_key: idempotencyKey,
        response_body: answer,
      })
      if (inserted.verdict === 'body_differs') throw keyReused()
      if (inserted.verdict === 'repeated') return inserted.answer
      return { status: 201, body: answer.replace(fingerprintIfNew, inserted.fingerprint ?? '') }
    },

    async get(merchantId: string, tokenId: string): Promise<Token> {
      return tokenOf(await find(merchantId, tokenId))
    },

    /** Newest first. @throws Failure invalid_request for a cursor of another list. */
    list(
      merchantId: string,
      filter: { customer?: string },
      page: { cursor: string | undefined; limit: number },
    ): Promise<{ data: Token[]; next_cursor: string | null }> {
      const list = { of: 'token', merchant_id: merchantId, filter } as const
      const find = (before: string | undefined, limit: number) =>
        queries.listTokens(deps.database, merchantId, filter, before, limit)
      return pageOfList(deps.keyring.fingerprints, list, page, find, tokenOf)
    },

    /** From now on the token is found nowhere; its data are erased later. @throws Failure not_found */
    async remove(caller: Caller, tokenId: string): Promise<void> {
      if (!isId('token', tokenId)) throw new Failure('not_found')
      const now = deps.clock.now()
      const deleted = await deletions.add({
        ...caller,
        token_id: tokenId,
        audit_id: newId('audit', now.getTime()),
        event_id: newId('event', now.getTime()),
        at: now.toISOString(),
      })
      if (!deleted) throw new Failure('not_found')
    },

    /** All of the data. Their audit record is committed before this resolves; if it cannot be, nothing leaves. */
    async reveal(caller: Caller, tokenId: string, reason: string): Promise<RevealedToken> {
      refuseCardNumberIn('reason', reason)
      const row = await find(caller.merchant_id, tokenId)
      const data = await dataOf(row)
      await deps.revealRecords.add({
        ...caller,
        audit_id: newId('audit'),
        action: 'token.reveal',
        object_id: row.token_id,
        reason,
        encrypted: row.data_encrypted,
      })
      return { id: row.token_id, object: 'revealed_token', type: row.type, data }
    },

    /**
     * What a request may be filled with. It writes no audit record: the forward's own names the token.
     * @throws Failure not_found
     */
    async open(merchantId: string, tokenId: string): Promise<TokenValues> {
      const row = await find(merchantId, tokenId)
      const data = await dataOf(row)
      return row.bank_account === null ? data : { ...data, country: row.bank_account.country }
    },

    async drain(): Promise<void> {
      await Promise.all([creations.drain(), lookups.drain(), deletions.drain()])
    },
  }
}

/** Data as they were sealed. */
export function tokenDataOf(text: string): TokenData {
  return JSON.parse(Buffer.from(text, 'latin1').toString()) as TokenData
}

/** What has a fingerprint: an account, whoever holds it. Never what a card number could be. */
export function accountOf({ iban, routing_number, account_number }: TokenData): string | null {
  if (iban !== undefined) return `iban:${iban}`
  return routing_number === undefined ? null : `us:${routing_number}:${account_number}`
}

function newTokenOf(input: NewToken, data: TokenData, fingerprint: string | null, now: Date): Token {
  return {
    id: newId('token', now.getTime()),
    object: 'token',
    type: input.type,
    bank_account: bankAccountOf(data),
    fingerprint,
    customer: input.customer ?? null,
    metadata: input.metadata ?? {},
    created_at: now.toISOString(),
  }
}

function bankAccountOf({ iban, account_number, account_type }: TokenData): BankAccount | null {
  const number = iban ?? account_number
  if (number === undefined) return null
  const shown = Math.min(4, Math.floor(number.length / 2))
  return {
    country: iban?.slice(0, 2) ?? 'US',
    last4: number.slice(-shown),
    account_type: account_type ?? null,
  }
}

function tokenOf(row: queries.TokenRow): Token {
  return {
    id: row.token_id,
    object: 'token',
    type: row.type,
    bank_account: row.bank_account,
    fingerprint: row.fingerprint,
    customer: row.customer,
    metadata: row.metadata,
    created_at: row.created_at.toISOString(),
  }
}
