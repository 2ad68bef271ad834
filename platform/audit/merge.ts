/** Pages of the zones' audit trails, made into one. */
import type { AuditPage, AuditRecord } from '@coffer/core/audit.ts'

/**
 * The newest of all pages, at most `limit`. Nothing is given below the point down to which every page is complete:
 * a zone might still have records there. `next_cursor` goes on right below what was given, and is null at the end.
 */
export function mergeAuditPages(
  pages: readonly AuditPage[],
  limit: number,
): { data: AuditRecord[]; next_cursor: string | null } {
  const floor = pages.reduce<string | null>(
    (highest, { complete_down_to: each }) =>
      each !== null && (highest === null || each > highest) ? each : highest,
    null,
  )
  const complete = pages
    .flatMap((page) => page.records)
    .filter(({ id }) => floor === null || id >= floor)
    .sort((left, right) => (left.id < right.id ? 1 : -1))
  const data = complete.slice(0, limit)
  return { data, next_cursor: complete.length > limit ? data.at(-1)!.id : floor }
}
