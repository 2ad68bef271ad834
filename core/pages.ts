/**
 * Pages of lists: how many rows at a time, and where the next one begins. Query strings are text, and nothing is
 * coerced behind the schema.
 */
import { Type } from 'typebox'
import { Failure } from './errors.ts'
import { type IdKind, isId } from './ids.ts'

const limitMax = 1_000
const limitDefault = 100

export const limitParameter = Type.Optional(
  Type.String({
    pattern: '^([1-9][0-9]{0,2}|1000)$',
    description: `1 to ${limitMax}, ${limitDefault} if left out.`,
  }),
)

export const cursorParameter = Type.Optional(Type.String({ maxLength: 100 }))

export const notACursor = () =>
  new Failure('invalid_request', { param: 'cursor', detail: 'Not a cursor of this list.' })

/** A cursor that is the id of the last object before the page. @throws Failure invalid_request for any other. */
export function checkCursor(kind: IdKind, cursor: string | undefined): void {
  if (cursor !== undefined && !isId(kind, cursor)) throw notACursor()
}

/** A full page may have another behind it, which begins after its last object. */
export function pageOf<Item extends { id: string }>(data: Item[], limit: number) {
  return { data, next_cursor: data.length === limit ? data.at(-1)!.id : null }
}

export function limitOf(text: string | undefined): number {
  return text === undefined ? limitDefault : Number(text)
}
