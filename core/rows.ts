/** Turns rows into one array a column, as `unnest` takes them. */
export function columnsOf<Row extends object>(rows: readonly Row[], names: readonly (keyof Row)[]): unknown[][] {
  return names.map((name) => rows.map((row) => row[name]))
}

/** The distinct merchants a batch touches: what row-level security is told. */
export function merchantsOf(rows: readonly { merchant_id: string }[]): string[] {
  return [...new Set(rows.map((row) => row.merchant_id))]
}
