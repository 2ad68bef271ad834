/** A bounded memory of what was looked up, each for a while. */

export type Kept<Value> = {
  /** What is kept under that name, else what `look` gives. Neither a failure nor an absence is kept. */
  get(name: string, look: () => Promise<Value>): Promise<Value>
}

export function createKept<Value>(options: { kept_ms: number; max: number }): Kept<Value> {
  const kept = new Map<string, { at_ms: number; value: Promise<Value> }>()
  return {
    get(name, look) {
      const now = performance.now()
      const known = kept.get(name)
      if (known !== undefined && now - known.at_ms < options.kept_ms) return known.value
      const value = look()
      value.then(
        (found) => found === undefined && kept.delete(name),
        () => kept.delete(name),
      )
      if (kept.size >= options.max) kept.clear()
      kept.set(name, { at_ms: now, value })
      return value
    },
  }
}
