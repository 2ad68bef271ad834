/** A vault for tests: its real parts on a real PostgreSQL, with merchants of their own. */
import { randomBytes } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import type { Clock } from '@coffer/core/time.ts'
import { quietLog, type TestPostgres } from '../test/support/postgres.ts'
import { createCardPolicies } from './cards/card-policy.ts'
import { createCards, type SerializeCard } from './cards/cards.ts'
import { createCardChanges } from './cards/changes.ts'
import type { Card, CardChange, NewCard } from './cards/schemas.ts'
import { createCardUsage } from './cards/usage.ts'
import { createCardVersions } from './cards/versions.ts'
import { createCvcLeases } from './cvc/cvc-leases.ts'
import { openKeyring } from './keys/keyring.ts'
import { createLocalKeys } from './keys/local-keys.ts'
import { createRevealRecords } from './reveal-records.ts'
import { createTokens } from './tokens/tokens.ts'

export function newRootKey(): Secret<string> {
  return new Secret(randomBytes(32).toString('base64'))
}

export type RootKeys = { wrapping: Secret<string>; fingerprint: Secret<string> }

export function rootKeysOf(postgres: TestPostgres): RootKeys {
  return {
    wrapping: new Secret(postgres.environment['VAULT_WRAPPING_KEY']!),
    fingerprint: new Secret(postgres.environment['VAULT_FINGERPRINT_KEY']!),
  }
}

/** As a process of the vault opens it. */
export async function openTestKeyring(
  database: Database,
  { wrapping, fingerprint }: RootKeys,
  previous: Secret<string>[] = [],
) {
  return openKeyring({
    database,
    wrappingKeys: createLocalKeys(wrapping, previous),
    fingerprintKey: fingerprint,
    limits: { age_ms_max: 300_000, uses_max: 1_000_000 },
    log: quietLog,
  })
}

export async function openTestVault(
  postgres: TestPostgres,
  wrap: (database: Database) => Database = (same) => same,
  clock: Clock = { now: () => new Date('2026-11-22T12:00:00.123Z') },
  keys: { wrapping?: Secret<string>; previous?: Secret<string>[] } = {},
) {
  const database = wrap(postgres.open('coffer_vault_service', { connections_max: 8 }))
  const { wrapping = rootKeysOf(postgres).wrapping, previous } = keys
  const keyring = await openTestKeyring(database, { ...rootKeysOf(postgres), wrapping }, previous)
  const cvcLeases = createCvcLeases()
  const revealRecords = createRevealRecords(database)
  const deps = { database, keyring, clock, cvcLeases, revealRecords }
  const cards = createCards(deps)
  const changes = createCardChanges({ ...deps, cards })
  const versions = createCardVersions({ database })
  const policies = createCardPolicies({ database })
  const usage = createCardUsage({ database, log: quietLog })
  const tokens = createTokens(deps)
  return { database, keyring, cvcLeases, cards, changes, versions, policies, usage, tokens }
}

export type TestVault = Awaited<ReturnType<typeof openTestVault>>

export function newCaller(merchantId: string = newId('merchant')): Caller {
  return {
    merchant_id: merchantId,
    actor: 'ada',
    key_id: newId('apiKey'),
    request_id: newId('request'),
    source_address: '192.0.2.7',
  }
}

export const testCard = (changes: Partial<NewCard> = {}): NewCard => ({
  number: '4242424242424242',
  exp_month: 12,
  exp_year: 2030,
  ...changes,
})

export const serialize: SerializeCard = (card) => JSON.stringify(card)

/** What a merchant has in a table, as its migrator sees it: without row-level security. */
export function rowsOf(postgres: TestPostgres, table: string, merchantId: string) {
  const text = `select * from ${table} where merchant_id = $1`
  return postgres.query('coffer_vault_migrator', text, [merchantId])
}

/** A new card of a new merchant, with what tests ask about it. */
export async function keepCard(postgres: TestPostgres, vault: TestVault, input: Partial<NewCard> = {}) {
  const { cards, changes } = vault
  const caller = newCaller()
  const card = JSON.parse((await cards.create(caller, testCard(input), null, serialize)).body) as Card
  const rows = (table: string) => rowsOf(postgres, table, caller.merchant_id)
  return {
    caller,
    card,
    place: { merchant_id: caller.merchant_id, card_id: card.id },
    rows,
    update: (change: CardChange, key: string | null = null, through = changes) =>
      through.update(caller, card.id, change, key, serialize),
    /** What the audit trail says was done, in the order of the alphabet. */
    actions: async () => (await rows('audit_records')).map((row) => row['action'] as string).sort(),
    read: () => cards.get(caller.merchant_id, card.id),
  }
}
