/** The open loop's clockwork: when requests arrive, which one, and where they wait. */

/**
 * How requests follow each other at a rate: evenly, or with exponentially distributed gaps, as if from many callers
 * who know nothing of each other: then several often come at once.
 */
export type Gaps = 'even' | 'random'
export type ArrivalRate = { rate_per_second: number; gaps: Gaps }

/**
 * Calls `onArrival` with the moment each request is due. A timer wakes at whole milliseconds, so several may be
 * told at once, each with its own moment. Returns a stop.
 */
export function startArrivals(rate: ArrivalRate, onArrival: (due_ms: number) => void): () => void {
  const gap_ms_mean = 1_000 / rate.rate_per_second
  const random = createRandom(20_261)
  const nextGap_ms = () => gap_ms_mean * (rate.gaps === 'even' ? 1 : -Math.log(1 - random()))
  let due_ms = performance.now()
  let timer: NodeJS.Timeout
  const tick = () => {
    for (const now = performance.now(); due_ms <= now; due_ms += nextGap_ms()) {
      onArrival(due_ms)
    }
    timer = setTimeout(tick, Math.max(0, due_ms - performance.now()))
  }
  timer = setTimeout(tick, 0)
  return () => {
    // Arrivals since the last waking are told too: a generator that stood still must not lose them.
    clearTimeout(timer)
    tick()
    clearTimeout(timer)
  }
}

/** Returns a function that draws one of the items, each as often as its weight says. */
export function createDraw<Item extends { weight: number }>(items: Item[]): () => Item {
  const random = createRandom(7)
  const total = items.reduce((sum, item) => sum + item.weight, 0)
  return () => {
    let left = random() * total
    return items.find((item) => (left -= item.weight) < 0) ?? items[0]!
  }
}

/** A small seeded generator (mulberry32), so that every run has the same arrivals. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** First in, first out, without moving what is left on every shift. */
export function createQueue<Item>() {
  let items: Item[] = []
  let head = 0
  return {
    push: (item: Item) => void items.push(item),
    shift(): Item | undefined {
      if (head === items.length) return undefined
      const item = items[head]
      head += 1
      if (head === items.length) [items, head] = [[], 0]
      return item
    },
    length: () => items.length - head,
    rest: () => items.slice(head),
  }
}
