/** A finishing step: what is done to a request once its marks are filled, just before it is sent. */
import type { TSchema } from 'typebox'
import type { FilledRequest } from '../marks.ts'

/** What a step needs beside the request, given so that it can be made again for a test. */
export type FinishingContext = {
  /** Scheme and host the request goes to. */
  origin: string
  now: Date
  /** Letters and digits that were never used before. */
  nonce: string
}

export type FinishingScheme<Parameters> = {
  /** Not secret: they are kept and shown as they are. */
  parameters: TSchema
  /** What the secret is, for people; null where there is none. */
  secret: string | null
  /** What is wrong with parameters or secret beyond the schema; undefined where they can be used. */
  problemOf(parameters: Parameters, secret: string): Problem | undefined
  finish(
    request: FilledRequest,
    parameters: Parameters,
    secret: string,
    context: FinishingContext,
  ): FilledRequest | Promise<FilledRequest>
}

/** Names the field and never its value. */
export type Problem = { field: string; detail: string }

/** The request cannot be finished: it is not sent. The message holds nothing of the request. */
export class FinishingError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'FinishingError'
  }
}

/** The headers with those of a step, which take the place of any the caller gave by the same name. */
export function withHeaders(
  given: Record<string, string>,
  own: Record<string, string>,
): Record<string, string> {
  const replaced = new Set(Object.keys(own))
  const kept = Object.entries(given).filter(([name]) => !replaced.has(name.toLowerCase()))
  return { ...Object.fromEntries(kept), ...own }
}
