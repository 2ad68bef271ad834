/**
 * Where a filtered list goes on. A cursor carries a keyed hash over whose list it is and of what, so one of
 * another merchant or another filter is told from a good one.
 */
import { bodyHmac } from '@coffer/core/idempotency.ts'
import { type IdKind, idPrefixes, isId } from '@coffer/core/ids.ts'
import { notACursor } from '@coffer/core/pages.ts'
import type { FingerprintKey, Fingerprints } from './keys/fingerprints.ts'

export type List = { of: IdKind; merchant_id: string; filter: Record<string, string> }

/** @param lastId of the page before. */
function cursorOf({ bodyKey }: FingerprintKey, list: List, lastId: string): string {
  const hash = bodyHmac(bodyKey, {
    list: `${list.of}s`,
    merchant: list.merchant_id,
    ...list.filter,
    after: lastId,
  })
  return `${lastId.slice(idPrefixes[list.of].length)}.${hash.subarray(0, 12).toString('base64url')}`
}

/** The id after which the list goes on: of a cursor by any of the keys. @throws Failure invalid_request */
function idOfCursor(keys: readonly FingerprintKey[], list: List, cursor: string): string {
  const id = `${idPrefixes[list.of]}${cursor.split('.', 1)[0]}`
  // Compared in the open: whoever guesses one finds their own list at another place.
  if (!isId(list.of, id) || !keys.some((key) => cursorOf(key, list, id) === cursor)) throw notACursor()
  return id
}

/**
 * One page of a list.
 * @param find gives at most that many rows, from the one after `before` on.
 * @throws Failure invalid_request for a cursor of another list.
 */
export async function pageOfList<Row, Item extends { id: string }>(
  fingerprints: Fingerprints,
  list: List,
  page: { cursor: string | undefined; limit: number },
  find: (before: string | undefined, limit: number) => Promise<Row[]>,
  itemOf: (row: Row) => Item,
): Promise<{ data: Item[]; next_cursor: string | null }> {
  const before = page.cursor === undefined ? undefined : idOfCursor(fingerprints.bodyKeys, list, page.cursor)
  // One more than asked for tells whether there is a next page.
  const rows = await find(before, page.limit + 1)
  const data = rows.slice(0, page.limit).map(itemOf)
  const last = rows.length > page.limit ? data.at(-1) : undefined
  return { data, next_cursor: last ? cursorOf(fingerprints.current, list, last.id) : null }
}
