/** How long a simulator takes over its requests, so that a benchmark can tell its time from the product's. */

/** Buckets grow by an eighth: a percentile is at most 12.5 % too high. */
const growth = Math.log(1.125)

export type ServiceTimes = {
  add(route: string, time_ms: number): void
  report(): Record<string, { count: number; mean_ms: number; p50_ms: number; p99_ms: number; max_ms: number }>
  clear(): void
}

type Histogram = { count: number; sum_ms: number; max_ms: number; buckets: number[] }

function percentile({ count, buckets, max_ms }: Histogram, share: number): number {
  let left = count * share
  for (const [index, inBucket] of buckets.entries()) {
    left -= inBucket ?? 0
    if (left <= 0) return Math.min(max_ms, Math.exp((index + 1) * growth) / 1000)
  }
  return max_ms
}

export function createServiceTimes(): ServiceTimes {
  const routes = new Map<string, Histogram>()
  return {
    add(route, time_ms) {
      let times = routes.get(route)
      if (!times)
        routes.set(route, (times = { count: 0, sum_ms: 0, max_ms: 0, buckets: new Array(160).fill(0) }))
      times.count++
      times.sum_ms += time_ms
      times.max_ms = Math.max(times.max_ms, time_ms)
      const bucket = Math.floor(Math.log(Math.max(time_ms * 1000, 1)) / growth)
      times.buckets[Math.min(bucket, times.buckets.length - 1)]!++
    },
    report() {
      const rounded = (time_ms: number) => Math.round(time_ms * 1000) / 1000
      const entries = [...routes].map(([route, times]) => {
        const { count, sum_ms, max_ms } = times
        const [p50_ms, p99_ms] = [rounded(percentile(times, 0.5)), rounded(percentile(times, 0.99))]
        return [
          route,
          { count, mean_ms: rounded(sum_ms / count), p50_ms, p99_ms, max_ms: rounded(max_ms) },
        ] as const
      })
      return Object.fromEntries(entries)
    },
    clear: () => routes.clear(),
  }
}
