/** Pages of lists: how many rows at a time. Query strings are text, and nothing is coerced behind the schema. */
import { Type } from 'typebox'

const limitMax = 1_000
const limitDefault = 100

export const limitParameter = Type.Optional(
  Type.String({
    pattern: '^([1-9][0-9]{0,2}|1000)$',
    description: `1 to ${limitMax}, ${limitDefault} if left out.`,
  }),
)

export function limitOf(text: string | undefined): number {
  return text === undefined ? limitDefault : Number(text)
}
