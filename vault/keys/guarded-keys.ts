/**
 * A provider with bounds: a call ends in time, only so many are under way, and while it does not answer it is asked
 * once in a while and not for every request. What it said is counted.
 */
import { Failure } from '@coffer/core/errors.ts'
import { counter, histogram } from '@coffer/core/metrics.ts'
import { type WrappingKeys, WrongKey } from './wrapping-keys.ts'

const calls = counter(
  'coffer_key_provider_calls_total',
  'Calls of the key provider, and what came of them: ok, unavailable, denied, wrong_key, sealed or refused.',
  ['operation', 'result'],
)
const seconds = histogram(
  'coffer_key_provider_seconds',
  'Time the key provider took.',
  ['operation'],
  [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
)

/** The provider answers and refuses: a key that is disabled, or rights that were taken away. */
export class ProviderDenied extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'ProviderDenied'
  }
}

const underWayMax = 256
/** While the provider was found not to answer, nobody else waits for it. */
const pauseMs = 500

/** What else the provider throws than a Failure, WrongKey or ProviderDenied means that it did not answer. */
export function guardKeys(keys: WrappingKeys, options: { deadline_ms: number }): WrappingKeys {
  let underWay = 0
  let silentUntilMs = 0

  async function guarded<Result>(operation: string, call: () => Promise<Result>): Promise<Result> {
    if (underWay >= underWayMax || performance.now() < silentUntilMs) {
      calls.inc({ operation, result: 'refused' })
      throw new Failure('keys_unavailable')
    }
    underWay++
    const startedMs = performance.now()
    try {
      const result = await within(options.deadline_ms, call())
      calls.inc({ operation, result: 'ok' })
      return result
    } catch (error) {
      const result = resultOf(error)
      calls.inc({ operation, result })
      if (result === 'unavailable') silentUntilMs = performance.now() + pauseMs
      throw error instanceof Failure || error instanceof WrongKey
        ? error
        : new Failure('keys_unavailable', { cause: error })
    } finally {
      underWay--
      seconds.observe({ operation }, (performance.now() - startedMs) / 1_000)
    }
  }

  return {
    ...keys,
    wrap: (key, context) => guarded('wrap', () => keys.wrap(key, context)),
    unwrap: (wrapped, context) => guarded('unwrap', () => keys.unwrap(wrapped, context)),
    currentId: () => guarded('current_id', () => keys.currentId()),
  }
}

function within<Result>(deadlineMs: number, call: Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`the key provider did not answer within ${deadlineMs} ms`))
    const timer = setTimeout(late, deadlineMs)
    call.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

function resultOf(error: unknown): string {
  if (error instanceof WrongKey) return 'wrong_key'
  if (error instanceof ProviderDenied) return 'denied'
  return error instanceof Failure && error.code === 'vault_sealed' ? 'sealed' : 'unavailable'
}
