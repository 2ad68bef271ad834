/** What is reported of a set of measurements; every figure in the measurements' own unit. */
export type Summary = { count: number; mean: number; p50: number; p99: number; p999: number; max: number }

/**
 * A growing list of numbers that keeps every one: exact percentiles, and no allocation for each
 * measurement.
 */
export type Samples = { add(value: number): void; count(): number; summary(): Summary }

export function createSamples(): Samples {
  let values = new Float64Array(1_024)
  let count = 0
  return {
    add(value) {
      if (count === values.length) {
        const larger = new Float64Array(values.length * 2)
        larger.set(values)
        values = larger
      }
      values[count] = value
      count += 1
    },
    count: () => count,
    summary: () => summarize(values.slice(0, count)),
  }
}

/** Summarizes the values; it sorts a copy. Of no values every figure is 0. */
export function summarize(values: ArrayLike<number>): Summary {
  const sorted = Float64Array.from(values).sort()
  const sum = sorted.reduce((total, value) => total + value, 0)
  return {
    count: sorted.length,
    mean: sorted.length === 0 ? 0 : sum / sorted.length,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    p999: percentile(sorted, 0.999),
    max: sorted.at(-1) ?? 0,
  }
}

/**
 * The nearest-rank percentile: the smallest value that at least `fraction` of the sorted values do not
 * exceed.
 */
export function percentile(sorted: ArrayLike<number>, fraction: number): number {
  if (sorted.length === 0) return 0
  // The product can come out a hair above a whole number (0.07 × 100 does): that must not be rounded up.
  const rank = Math.ceil(fraction * sorted.length - 1e-9)
  return sorted[Math.min(Math.max(rank, 1), sorted.length) - 1]!
}
