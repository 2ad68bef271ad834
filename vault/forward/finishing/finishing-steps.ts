/** The finishing steps that there are, by the name of their scheme, and how a request passes through some of them. */
import type { Secret } from '@coffer/core/secret.ts'
import type { FilledRequest } from '../marks.ts'
import { cybersourceHttpSignature } from './http-signature.ts'
import { jwe } from './jwe.ts'
import { mastercardOauth1 } from './oauth1-body-hash.ts'
import type { FinishingContext, FinishingScheme, Problem } from './step.ts'

export const finishingSchemes = {
  cybersource_http_signature: cybersourceHttpSignature,
  mastercard_oauth1: mastercardOauth1,
  jwe,
} as const
export type SchemeName = keyof typeof finishingSchemes

/** One step as a destination has it. */
export type FinishingStep = {
  scheme: SchemeName
  parameters: Record<string, unknown>
  /** Undefined where the scheme has none. */
  secret: Secret<string> | undefined
}

/**
 * What is wrong with a step whose parameters meet their schema; undefined where it can be used. `field` is
 * `parameters.…` or `secret`.
 */
export function problemOfStep({ scheme, parameters, secret }: FinishingStep): Problem | undefined {
  const known = schemeOf(scheme)
  if (known.secret === null && secret !== undefined)
    return { field: 'secret', detail: 'This scheme has none.' }
  if (known.secret !== null && secret === undefined) return { field: 'secret', detail: 'It is missing.' }
  return known.problemOf(parameters, secret?.expose() ?? '')
}

/**
 * Runs the steps in their order: what encrypts the body stands before what signs it.
 * @throws FinishingError where the request is not one that a step can finish; then nothing is sent.
 */
export async function finishRequest(
  request: FilledRequest,
  steps: readonly FinishingStep[],
  context: FinishingContext,
): Promise<FilledRequest> {
  let finished = request
  for (const { scheme, parameters, secret } of steps)
    finished = await schemeOf(scheme).finish(finished, parameters, secret?.expose() ?? '', context)
  return finished
}

/** The schema of a scheme has checked what its functions take. */
const schemeOf = (name: SchemeName) =>
  finishingSchemes[name] as unknown as FinishingScheme<Record<string, unknown>>
