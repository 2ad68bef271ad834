/** Turns rows into one array a column, as `unnest` takes them. */
export function columnsOf<Row extends object>(
  rows: readonly Row[],
  names: readonly (keyof Row)[],
): unknown[][] {
  return names.map((name) => rows.map((row) => row[name]))
}

/** The distinct merchants a batch touches: what row-level security is told. */
export function merchantsOf(rows: readonly { merchant_id: string }[]): string[] {
  return [...new Set(rows.map((row) => row.merchant_id))]
}

/**
 * Runs `work` over rows put in the order of a key, and gives its results in the order the rows came: two
 * batches that lock the same rows must lock them in the same order.
 */
export async function inKeyOrder<Row, Result>(
  rows: readonly Row[],
  keyOf: (row: Row) => string,
  work: (ordered: Row[]) => Promise<Result[]>,
): Promise<Result[]> {
  const places = rows.map((row, place) => ({ place, key: keyOf(row) }))
  places.sort((left, right) => (left.key < right.key ? -1 : left.key > right.key ? 1 : 0))
  const results = await work(places.map(({ place }) => rows[place]!))
  const inOrder = new Array<Result>(rows.length)
  for (const [index, { place }] of places.entries()) inOrder[place] = results[index]!
  return inOrder
}

/** A value for a column of JSON, where null is no value and not the JSON `null`. */
export function jsonOrNull(value: unknown): string | null {
  return value === null ? null : JSON.stringify(value)
}
