/** A batch of changes of cards: each is applied to what the one before it made of its card, and all are written. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { completeRaced } from '@coffer/core/group-commit.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import { isHashedForAnotherState } from '../keys/fingerprints.ts'
import type { Keyring } from '../keys/keyring.ts'
import { cardNumberPlace, seal, unseal } from '../keys/sealed-text.ts'
import { nameOf } from './card-names.ts'
import { type CardsDeps, cardOf, type SerializeCard } from './cards.ts'
import * as queries from './change-queries.ts'
import { type ChangingCard, changedCard, isNewVersion, restoredCard } from './changed-card.ts'
import { findCards } from './queries.ts'
import type { CardChange } from './schemas.ts'
import { findVersions, type VersionRow } from './version-queries.ts'

export type Asked =
  | { kind: 'update'; fields: CardChange }
  | {
      kind: 'replace'
      number: string
      fingerprint_if_new: string
      brand: string
      bin: string
      fields: CardChange
    }
  | { kind: 'restore'; version: string }

export type Change = Caller & {
  card_id: string
  asked: Asked
  origin: Pick<queries.CardUpdate['version'], 'source' | 'raw_code' | 'note'>
  now: Date
  idempotency_key: string | null
  body_hmac: Buffer | null
  serialize: SerializeCard
}

export type Changed =
  | { verdict: 'done'; answer: StoredAnswer; is_repeated: boolean }
  | { verdict: 'body_differs' }
  | { verdict: 'refused'; failure: Failure }

/** Those of a card that another process has changed meanwhile are applied again to what it is now. */
export async function applyChanges(deps: CardsDeps, entries: Change[]): Promise<Changed[]> {
  const cards = new Map<string, ChangingCard>()
  for (const row of await findCards(deps.database, entries))
    if (row !== undefined) cards.set(nameOf(row), { ...row, hashes: null })
  const earlier = await earlierVersions(deps, entries)
  const results = new Array<Changed | undefined>(entries.length).fill(undefined)
  const updates: (queries.CardUpdate & { place: number })[] = []
  for (const [place, entry] of entries.entries()) {
    const before = cards.get(nameOf(entry))
    const after =
      before === undefined
        ? new Failure('not_found')
        : await afterChange(deps.keyring, before, entry, earlier[place])
    if (before === undefined || after instanceof Failure) {
      results[place] = { verdict: 'refused', failure: after as Failure }
      continue
    }
    cards.set(nameOf(entry), after)
    updates.push({ ...updateOf(entry, before, after), place })
  }
  const again = (raced: Change[]) => applyChanges(deps, raced)
  let written: queries.Written[]
  try {
    written = await queries.updateCards(deps.database, updates)
  } catch (error) {
    if (isHashedForAnotherState(error)) await deps.keyring.fingerprints.refresh()
    else if (!queries.isKeyTaken(error)) throw error
    return again(entries)
  }
  for (const [index, { place, after, response_body }] of updates.entries())
    results[place] = changedOf(written[index], after, response_body)
  return completeRaced(entries, results, again)
}

/** For each entry that goes back to an earlier version, that version. */
async function earlierVersions(deps: CardsDeps, entries: Change[]): Promise<(VersionRow | undefined)[]> {
  const keys = entries.flatMap(({ merchant_id, card_id, asked }, place) =>
    asked.kind === 'restore' ? [{ merchant_id, card_id, card_version_id: asked.version, place }] : [],
  )
  const found = await findVersions(deps.database, keys)
  const versions = new Array<VersionRow | undefined>(entries.length).fill(undefined)
  for (const [index, { place }] of keys.entries()) versions[place] = found[index]
  return versions
}

/** What the change makes of the card, sealed anew where that is another version; or why it cannot be. */
async function afterChange(
  keyring: Keyring,
  before: ChangingCard,
  { asked, now }: Change,
  earlier: VersionRow | undefined,
): Promise<ChangingCard | Failure> {
  if (asked.kind === 'restore') {
    if (earlier === undefined) return new Failure('card_version_not_found', { param: 'version' })
    const { number_encrypted } = earlier
    if (number_encrypted === null) return new Failure('card_number_erased', { param: 'version' })
    const after = restoredCard(before, earlier, now)
    if (earlier.card_version_id === before.card_version_id) return after
    const number = await numberOf(keyring, { ...earlier, number_encrypted })
    return sealedAnew(keyring, number === (await numberOf(keyring, before)) ? after : replaced(after), number)
  }
  const after = changedCard(before, asked.fields, now)
  if (after instanceof Failure) return after
  if (asked.kind === 'replace') {
    const old = await numberOf(keyring, before)
    if (old !== asked.number) {
      const { number, fingerprint_if_new: fingerprint, brand, bin } = asked
      const hashes = keyring.fingerprints.hashesOf(before.merchant_id, number)
      const renumbered = { ...after, hashes, fingerprint, brand, bin, last4: number.slice(-4) }
      return sealedAnew(keyring, replaced(renumbered), number)
    }
  }
  if (!isNewVersion(before, after)) return after
  return sealedAnew(keyring, after, await numberOf(keyring, before))
}

const replaced = (after: ChangingCard): ChangingCard => ({ ...after, last_replaced_at: after.updated_at })

type Sealed = Parameters<typeof cardNumberPlace>[0] & { data_key_id: string; number_encrypted: Buffer }

async function numberOf(keyring: Keyring, sealed: Sealed): Promise<string> {
  const dataKey = await keyring.forDecryption(sealed.merchant_id, sealed.data_key_id)
  return unseal(dataKey, cardNumberPlace(sealed), sealed.number_encrypted)
}

/** A number at its new place: what is stored is bound to the version it belongs to. */
async function sealedAnew(keyring: Keyring, after: ChangingCard, number: string): Promise<ChangingCard> {
  const dataKey = await keyring.forEncryption(after.merchant_id)
  const place = { ...after, card_version_id: newId('cardVersion', after.updated_at.getTime()) }
  return {
    ...place,
    data_key_id: dataKey.data_key_id,
    number_encrypted: seal(dataKey, cardNumberPlace(place), number),
  }
}

function updateOf(entry: Change, before: ChangingCard, after: ChangingCard): queries.CardUpdate {
  const { asked, origin } = entry
  const what = asked.kind === 'restore' ? asked.version : Object.keys(asked.fields).sort().join(' ')
  return {
    ...entry,
    kind: asked.kind,
    before,
    after,
    // Later than that of the change before, also within its millisecond: the newest is what the card is held against.
    audit_id: newId('audit', after.updated_at.getTime()),
    event_id: newId('event', entry.now.getTime()),
    audit_reason: origin.note === null ? what : `${what}: ${origin.note}`,
    version: {
      ...origin,
      reason: reasonOf(asked, before, after),
      restored_version_id: asked.kind === 'restore' ? asked.version : null,
    },
    response_body: entry.serialize(cardOf(after)),
  }
}

function reasonOf(asked: Asked, before: ChangingCard, after: ChangingCard): string {
  if (asked.kind === 'restore') return 'restored'
  if (asked.kind === 'replace') return 'replaced'
  return before.status === after.status ? 'updated' : 'status_changed'
}

function changedOf(written: queries.Written, after: ChangingCard, body: string): Changed | undefined {
  if (written === undefined || written.verdict === 'body_differs') return written
  if (written.verdict === 'repeated') return { verdict: 'done', answer: written.answer, is_repeated: true }
  const answer = { status: 200, body: body.replace(after.fingerprint, written.fingerprint) }
  return { verdict: 'done', answer, is_repeated: false }
}
