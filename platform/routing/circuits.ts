/**
 * A circuit breaker for each connection in trouble: requests that got no answer, no connection, or the word that the
 * PSP is overloaded. Declines are no trouble. An open circuit makes payments go elsewhere where they can; after a
 * while one of them tries it again. Kept by each process for itself.
 */
import { gauge } from '@coffer/core/metrics.ts'
import type { Clock } from '@coffer/core/time.ts'
import {
  type CircuitBreakerPolicy,
  CircuitState,
  CountBreaker,
  circuitBreaker,
  handleWhenResult,
} from 'cockatiel'

export type CircuitName = 'closed' | 'open' | 'half_open'

export type Circuits = ReturnType<typeof createCircuits>

type Tried<Result> = { result: Result; isTroubled: boolean }
type Circuit = { policy: CircuitBreakerPolicy; opened_at_ms: number }

const circuitsMax = 1_000
/** More than half of the last so many, and at least so many of them. */
const window = { threshold: 0.5, size: 20, minimumNumberOfCalls: 5 }

const names: Record<CircuitState, CircuitName> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half_open',
  [CircuitState.Isolated]: 'open',
}

const states = gauge(
  'coffer_connection_circuit_state',
  'Of connections that were in trouble: 0 closed, 1 open, 2 half open.',
  ['connection'],
)

/** The clock is the one that the library reads: the system's. */
export function createCircuits(options: { retry_after_ms: number; clock: Clock }) {
  const nowMs = () => options.clock.now().getTime()
  const circuits = new Map<string, Circuit>()

  function newCircuit(connectionId: string): Circuit {
    const policy = circuitBreaker(
      handleWhenResult((tried) => (tried as Tried<unknown>).isTroubled),
      { halfOpenAfter: options.retry_after_ms, breaker: new CountBreaker(window) },
    )
    const circuit = { policy, opened_at_ms: 0 }
    policy.onStateChange((state) => {
      if (state === CircuitState.Open) circuit.opened_at_ms = nowMs()
      states.set({ connection: connectionId }, state)
    })
    if (circuits.size >= circuitsMax) forget(circuits.keys().next().value!)
    circuits.set(connectionId, circuit)
    states.set({ connection: connectionId }, 0)
    return circuit
  }

  function forget(connectionId: string): void {
    circuits.delete(connectionId)
    states.remove({ connection: connectionId })
  }

  /** Nothing more goes through it, but for the one payment that tries it again, once its time has come. */
  function isOpen(connectionId: string): boolean {
    const circuit = circuits.get(connectionId)
    if (circuit === undefined || circuit.policy.state === CircuitState.Closed) return false
    return (
      circuit.policy.state !== CircuitState.Open || nowMs() - circuit.opened_at_ms < options.retry_after_ms
    )
  }

  return {
    isOpen,
    nameOf: (connectionId: string): CircuitName =>
      names[circuits.get(connectionId)?.policy.state ?? CircuitState.Closed],

    /** Runs what goes through a connection, and counts whether it was in trouble. Runs it in any case. */
    async run<Result>(
      connectionId: string,
      work: (noteTrouble: () => void) => Promise<Result>,
    ): Promise<Result> {
      const attempt = async (): Promise<Tried<Result>> => {
        let isTroubled = false
        const result = await work(() => {
          isTroubled = true
        })
        return { result, isTroubled }
      }
      // What goes through an open circuit goes there because it has no other way: it decides nothing.
      if (isOpen(connectionId)) return (await attempt()).result
      const circuit = circuits.get(connectionId)
      if (circuit !== undefined) return (await circuit.policy.execute(attempt)).result
      const tried = await attempt()
      if (tried.isTroubled) {
        const counting = circuits.get(connectionId) ?? newCircuit(connectionId)
        if (!isOpen(connectionId)) await counting.policy.execute(async () => tried)
      }
      return tried.result
    },
  }
}
