/**
 * Several prepared statements in one message to PostgreSQL and one message back. Everything up to a Sync is one
 * transaction, committed by the Sync itself. Sent one by one, each statement would be answered by itself, and each
 * answer wakes a sleeping process: at low rates that costs more than the statements.
 *
 * Plugs into `pg` as cursors do: an object with `submit` and a handler for each message of the server.
 * Source: PostgreSQL, "Message Flow", Extended Query and Pipelining.
 */
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import pg from 'pg'
import type { Row, Statement } from './postgres.ts'

/** `command` is what the server calls what it did: COMMIT, ROLLBACK, INSERT, … */
export type BatchResult = { rows: Row[]; command: string }

/** Names and parsers of the columns of a prepared statement. */
type Columns = { name: string; parse(text: string): unknown }[]

/** What `pg` calls a connection, as far as a submittable may use it. */
type Connection = EventEmitter & {
  stream: Socket
  parse(statement: { name: string; text: string }): void
  bind(portal: { statement: string; values: unknown[] }): void
  describe(portal: { type: 'P' }): void
  execute(portal: object): void
  sync(): void
}
type Field = { name: string; dataTypeID: number; format: 'text' | 'binary' }

const { prepareValue } = (pg as unknown as { utils: { prepareValue(value: unknown): unknown } }).utils

/** The statements each connection has parsed; their columns once the first answer told them. */
const parsedBy = new WeakMap<Connection, Map<string, Columns | undefined>>()

/**
 * Runs the statements in order. Outside of BEGIN and COMMIT they are one transaction, committed when this
 * resolves; where one fails none of them took effect, and those behind it did not run.
 * @throws what PostgreSQL reported, or the loss of the connection.
 */
export function runBatch(client: pg.ClientBase, statements: readonly Statement[]): Promise<BatchResult[]> {
  return new Promise((resolve, reject) => {
    client.query(batch(statements, resolve, reject) as unknown as pg.Submittable)
  })
}

function batch(
  statements: readonly Statement[],
  resolve: (results: BatchResult[]) => void,
  reject: (error: unknown) => void,
) {
  // First of all: what was sent is committed, even if the rest could never follow.
  const values = statements.map((statement) => statement.values.map((value) => prepareValue(value)))
  const results: BatchResult[] = []
  let rows: Row[] = []
  let parsed!: Map<string, Columns | undefined>
  let current = 0

  function submit(connection: Connection): Error | null {
    parsed = parsedBy.get(connection) ?? new Map()
    parsedBy.set(connection, parsed)
    const { stream } = connection
    const unparsed = statements.filter(
      ({ name }, index) =>
        !parsed.has(name) && statements.findIndex((other) => other.name === name) === index,
    )
    if (unparsed.length > 0) {
      const confirm = () => parsed.set(unparsed.shift()!.name, undefined)
      connection.on('parseComplete', confirm)
      connection.once('readyForQuery', () => connection.off('parseComplete', confirm))
    }
    stream.cork()
    for (const statement of unparsed) connection.parse(statement)
    statements.forEach(({ name }, index) => {
      connection.bind({ statement: name, values: values[index]! })
      if (parsed.get(name) === undefined) connection.describe({ type: 'P' })
      connection.execute({})
    })
    connection.sync()
    stream.uncork()
    return null
  }

  return {
    submit,
    handleRowDescription({ fields }: { fields: Field[] }) {
      parsed.set(statements[current]!.name, fields.map(column))
    },
    handleDataRow({ fields }: { fields: (string | null)[] }) {
      const columns = parsed.get(statements[current]!.name)!
      const row: Row = {}
      for (let index = 0; index < columns.length; index++) {
        const value = fields[index]!
        row[columns[index]!.name] = value === null ? null : columns[index]!.parse(value)
      }
      rows.push(row)
    },
    handleCommandComplete({ text }: { text: string }) {
      const { name } = statements[current]!
      if (parsed.get(name) === undefined) parsed.set(name, [])
      results.push({ rows, command: text.split(' ', 1)[0]! })
      rows = []
      current++
    },
    handleEmptyQuery() {},
    handlePortalSuspended() {},
    handleError: reject,
    handleReadyForQuery: () => resolve(results),
  }
}

const parsers: Record<number, (text: string) => unknown> = { 20: BigInt }

function column({ name, dataTypeID, format }: Field): Columns[number] {
  return { name, parse: parsers[dataTypeID] ?? pg.types.getTypeParser(dataTypeID, format as 'text') }
}
