/**
 * How processes learn of changed keys: each asks every second which generation of the keys is the newest, takes
 * notice of a new one, and then says so. A change goes on once all have. A process without an answer for five seconds
 * trusts no key in its memory; one that was not seen for ten is not waited for.
 */
import { randomUUID } from 'node:crypto'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { startRepeating } from '@coffer/core/repeating.ts'
import type { EndedKey, Keyring } from './keyring.ts'

const askMs = 1_000
/** A key service is asked each time, which costs. */
const lookMs = 10_000

export type KeyNotices = { holder: string; stop(): Promise<void> }

/** @param wrappingKeyId names the key that this process wraps with. */
export async function followKeyNotices(deps: {
  relayDatabase: Database
  keyring: Keyring
  wrappingKeyId: () => Promise<string>
  log: Log
}): Promise<KeyNotices> {
  const { relayDatabase, keyring, log } = deps
  const holder = randomUUID()
  // Older than any: what there is now is taken notice of first.
  let known = 0n
  let wrappingKeyId = ''
  let nextLookMs = 0

  /** Not waited for: a provider that is silent must not keep this process from hearing what has changed. */
  function lookAtWrappingKey(): void {
    if (performance.now() < nextLookMs) return
    nextLookMs = performance.now() + lookMs
    deps.wrappingKeyId().then(
      (id) => {
        wrappingKeyId = id
      },
      () => {
        nextLookMs = 0
      },
    )
  }

  async function ask(): Promise<number> {
    const askedAtMs = performance.now()
    try {
      lookAtWrappingKey()
      const newest = await tellGeneration(relayDatabase, holder, known, wrappingKeyId)
      if (newest > known) {
        await keyring.takeNotice(await findEnded(relayDatabase))
        known = newest
        return 0
      }
      keyring.trustSince(askedAtMs)
    } catch (error) {
      log.warn({ error }, 'it is not known whether keys have changed; asked again')
    }
    return askMs
  }

  await ask()
  const asking = startRepeating(ask)
  return {
    holder,
    async stop() {
      await asking.stop()
      await relayDatabase
        .commit([], {
          name: 'remove_key_holder',
          text: 'delete from key_holders where holder = $1',
          values: [holder],
        })
        .catch(() => {})
    },
  }
}

/** Of the last minute: a process that has heard nothing for longer has forgotten all keys. */
function findEnded(database: Database): Promise<EndedKey[]> {
  return database.read([], {
    name: 'find_ended_data_keys',
    text: `select merchant_id, data_key_id, revoked_at is not null as is_revoked from data_keys
           where superseded_at > now() - interval '1 minute' or revoked_at > now() - interval '1 minute'`,
    values: [],
  })
}

/** Says what this process knows and which key it wraps with; gives what there is to know. */
async function tellGeneration(database: Database, holder: string, known: bigint, wrappingKeyId: string) {
  const rows = await database.commit<{ generation: bigint }>([], {
    name: 'tell_key_generation',
    text: `with told as (
             insert into key_holders (holder, generation, wrapping_key_id) values ($1, $2, $3)
             on conflict (holder) do update
               set generation = excluded.generation, wrapping_key_id = excluded.wrapping_key_id, seen_at = now()
           ), forgotten as (
             delete from key_holders where holder <> $1 and seen_at < now() - interval '1 hour'
           )
           select generation from key_state where only_row`,
    values: [holder, known, wrappingKeyId],
  })
  return rows[0]!.generation
}

/** Processes that may still use keys as they were before the generation. */
export async function holdersBehind(database: Database, generation: bigint): Promise<number> {
  const rows = await database.read<{ behind: bigint }>([], {
    name: 'count_key_holders_behind',
    text: `select count(*) as behind from key_holders
           where generation < $1 and seen_at > now() - interval '10 seconds'`,
    values: [generation],
  })
  return Number(rows[0]!.behind)
}

/** The processes that hold keys now, and which key each wraps with. */
export function findRunningHolders(database: Database): Promise<{ wrapping_key_id: string }[]> {
  return database.read([], {
    name: 'find_key_holders',
    text: `select wrapping_key_id from key_holders where seen_at > now() - interval '10 seconds'`,
    values: [],
  })
}
