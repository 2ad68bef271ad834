/** How far the product's own followers are behind what it acknowledged: a throughput they do not keep up with is none. */
export type Backlog = {
  after: string
  /** Age of the oldest audit record that has no place in the chain yet. */
  unsealed_seconds: number
  /** Age of the oldest event that is not in the log yet. */
  outbox_seconds: number
}

const SERIES = {
  unsealed_seconds: 'coffer_audit_unsealed_seconds',
  outbox_seconds: 'coffer_outbox_age_seconds',
}

/** Reads them from the product's metrics, where they are five seconds old at most. */
export async function readBacklog(api_url: string, after: string): Promise<Backlog> {
  const response = await fetch(`${api_url}/metrics`)
  const text = await response.text()
  if (!response.ok) throw new Error(`GET /metrics was answered ${response.status}`)
  return {
    after,
    unsealed_seconds: largestOf(text, SERIES.unsealed_seconds),
    outbox_seconds: largestOf(text, SERIES.outbox_seconds),
  }
}

/** The largest value of a series over its labels. Throws where it is not there: it would pass for none. */
export function largestOf(metrics: string, series: string): number {
  const values = [...metrics.matchAll(new RegExp(`^${series}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].map((match) =>
    Number(match[1]),
  )
  if (values.length === 0) throw new Error(`/metrics has no ${series}`)
  return Math.max(...values)
}
