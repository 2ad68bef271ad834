/**
 * What a simulator can be told over its control endpoints, besides faults. A restart begins with the
 * defaults.
 */
export type Settings = {
  /** Added to the machine's clock: moves creation times, key expiry and the search's lag. */
  clock_offset_ms: number
  /** How long after its creation an object is first found by a search. */
  search_lag_ms: number
  idempotency_key_ttl_ms: number
}

export const settingsDefault: Settings = {
  clock_offset_ms: 0,
  search_lag_ms: 3_000,
  idempotency_key_ttl_ms: 24 * 3_600_000,
}
