/** The finishing steps of a destination: as they are asked for, kept, and run. */
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { newSecretText } from '@coffer/core/ids.ts'
import { Secret } from '@coffer/core/secret.ts'
import {
  type FinishingStep,
  finishRequest,
  problemOfStep,
  type SchemeName,
} from '../finishing/finishing-steps.ts'
import { FinishingError } from '../finishing/step.ts'
import type { FilledRequest } from '../marks.ts'
import type { NewDestination } from './schemas.ts'

/** What encrypts the body stands before what signs it. */
const order: readonly SchemeName[] = ['jwe', 'cybersource_http_signature', 'mastercard_oauth1']

export type KeptStep = Pick<FinishingStep, 'scheme' | 'parameters'>

/** In the order in which they run. @throws Failure invalid_request, card_number_in_wrong_field */
export function stepsOf(given: NewDestination['finishing'] = {}): FinishingStep[] {
  const steps = order.flatMap((scheme): FinishingStep[] => {
    const step = given[scheme as keyof typeof given] as { parameters: object; secret?: string } | undefined
    if (step === undefined) return []
    const param = `finishing.${scheme}`
    for (const text of Object.values(step.parameters).concat(step.secret))
      if (typeof text === 'string') refuseCardNumberIn(param, text)
    const secret = step.secret === undefined ? undefined : new Secret(step.secret)
    return [{ scheme, parameters: step.parameters as Record<string, unknown>, secret }]
  })
  for (const step of steps) {
    const problem = problemOfStep(step)
    if (problem !== undefined)
      throw new Failure('invalid_request', {
        param: `finishing.${step.scheme}.${problem.field}`,
        detail: problem.detail,
      })
  }
  return steps
}

/** Their secrets as one text, null where there is none. ASCII, as they are. */
export function secretTextOf(steps: readonly FinishingStep[]): string | null {
  if (steps.every(({ secret }) => secret === undefined)) return null
  return JSON.stringify(steps.map(({ secret }) => secret?.expose() ?? null))
}

export function withSecrets(kept: readonly KeptStep[], secretText: string | undefined): FinishingStep[] {
  const secrets = secretText === undefined ? [] : (JSON.parse(secretText) as (string | null)[])
  return kept.map(({ scheme, parameters }, index) => {
    const secret = secrets[index]
    return { scheme, parameters, secret: typeof secret === 'string' ? new Secret(secret) : undefined }
  })
}

/** @throws Failure finishing_failed: then nothing is sent. */
export async function finish(
  request: FilledRequest,
  { origin, finishing }: { origin: string; finishing: readonly FinishingStep[] },
  now: Date,
): Promise<FilledRequest> {
  if (finishing.length === 0) return request
  try {
    return await finishRequest(request, finishing, { origin, now, nonce: newSecretText(24) })
  } catch (error) {
    if (error instanceof FinishingError)
      throw new Failure('finishing_failed', { param: 'body', detail: `${error.message}.` })
    throw error
  }
}
