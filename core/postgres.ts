/**
 * PostgreSQL, with a thin layer of our own: transactions that name the merchants they touch (row-level
 * security shows nothing else), sent in one round trip where no answer is needed in between.
 *
 * No session state is used, so a transaction-pooling proxy such as PgBouncer may stand in front.
 */
import pg from 'pg'
import { Failure } from './errors.ts'
import type { Log } from './log.ts'
import { gauge } from './metrics.ts'
import { type BatchResult, runBatch } from './postgres-batch.ts'
import type { Secret } from './secret.ts'

/**
 * `name` makes it a prepared statement: parsed and planned once a connection. `joins: 'by_key'` for one that updates a
 * batch of rows: each is looked up by its key, whatever the table held when it was planned.
 */
export type Statement = { name: string; text: string; values: unknown[]; joins?: 'by_key' }
export type Row = Record<string, unknown>

export type Database = {
  /**
   * Runs one statement in a transaction of its own, in one round trip.
   * @throws CommitUnknown where the connection was lost after sending: it may or may not be committed.
   */
  commit<Found extends Row>(merchants: readonly string[], statement: Statement): Promise<Found[]>
  /** As `commit`, for several statements in one transaction and one round trip; gives the rows of each. */
  commitAll<Found extends Row>(merchants: readonly string[], statements: Statement[]): Promise<Found[][]>
  /** As `commit`, for a statement that changes nothing: a lost connection is just `unavailable`. */
  read<Found extends Row>(merchants: readonly string[], statement: Statement): Promise<Found[]>
  /** Several statements, each waiting for the one before, in one transaction. */
  transaction<Result>(merchants: readonly string[], work: (query: Query) => Promise<Result>): Promise<Result>
  /** @throws Failure unavailable where PostgreSQL does not answer or would not keep what it acknowledges. */
  check(): Promise<void>
  close(): Promise<void>
}
export type Query = <Found extends Row>(statement: Statement) => Promise<Found[]>

/** The reply to a COMMIT was lost, or a wait for the synchronous standby was cancelled. */
export class CommitUnknown extends Error {
  constructor(cause: unknown) {
    super('the result of a commit is not known', { cause })
    this.name = 'CommitUnknown'
  }
}

/** Serialization failure and deadlock: the whole transaction may be run again. */
export function isTransient(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code
  return code === '40001' || code === '40P01'
}

/**
 * A fault PostgreSQL itself reported: the transaction was rolled back, for certain. A session or a server that
 * ends (FATAL, PANIC) says nothing about a commit that was under way.
 */
function isReported(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError) || error.code === undefined) return false
  if (error.severity === 'FATAL' || error.severity === 'PANIC') return false
  return !error.code.startsWith('57P') && error.code !== '08006'
}

/**
 * What a fault that was reported is to the one who asked: a full disk, no memory, a read that fails (SQLSTATE
 * classes 53 and 58) is PostgreSQL's trouble and no row's, and passes.
 */
function reported(error: unknown): unknown {
  const { code } = error as { code: string }
  return code.startsWith('53') || code.startsWith('58') ? unavailable(error) : error
}

const pools = new Map<string, pg.Pool>()
gauge('coffer_postgres_pool_waiting', 'Transactions waiting for a connection.', ['database'], (waiting) => {
  for (const [database, pool] of pools) waiting.set({ database }, pool.waitingCount)
})

/**
 * Opens a transaction's view on its merchants. The planner settings make every statement keep one plan, made
 * as if reading a whole table cost a fortune: a plan made while a table was empty is used when it is large. So
 * statements find rows only by `lateral (… limit 1)` or by a whole key; to join a batch to a table they say so.
 */
export const scopeStatement = (merchants: readonly string[]): Statement => ({
  name: 'coffer_scope',
  text: `select set_config('coffer.merchants', $1, true), set_config('enable_seqscan', 'off', true),
           set_config('plan_cache_mode', 'force_generic_plan', true)`,
  values: [merchants.join(',')],
})

const byKeyStatement: Statement = {
  name: 'coffer_by_key',
  text: `select set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)`,
  values: [],
}

/** What goes before statements so that they are planned as they ask for. */
export const preparing = (statements: readonly Statement[]): Statement[] =>
  statements.some(({ joins }) => joins === 'by_key') ? [byKeyStatement] : []

const beginStatement: Statement = { name: 'coffer_begin', text: 'begin', values: [] }
const commitStatement: Statement = { name: 'coffer_commit', text: 'commit', values: [] }
const rollbackStatement: Statement = { name: 'coffer_rollback', text: 'rollback', values: [] }

export function openDatabase(options: {
  url: Secret<string>
  name: string
  connections_max: number
  log: Log
}): Database {
  const pool = new pg.Pool({
    connectionString: options.url.expose(),
    max: options.connections_max,
    // A connection nobody can have within this time means overload: say so rather than hang.
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    application_name: `coffer ${options.name}`,
    verify: (client: pg.ClientBase, done: (error?: Error) => void) => {
      verifyServer(client).then(() => done(), done)
    },
  } as pg.PoolConfig)
  pools.set(options.name, pool)
  let closing = false
  pool.on('error', (error) => {
    // Closing does not wait for the server's side of it, which may be stopping by then.
    if (!closing) options.log.warn({ error }, 'an idle PostgreSQL connection was lost')
  })
  const warned = new WeakSet<pg.ClientBase>()
  pool.on('connect', (client) => {
    // A connection lost while in use fails its statements; the event beside that would end the process.
    client.on('error', () => {})
    // The only sign that a wait for the synchronous standby was cancelled: the COMMIT itself looks successful.
    client.on('notice', ({ code }) => {
      if (code === '01000') warned.add(client)
    })
  })

  async function acquire(): Promise<pg.PoolClient> {
    try {
      return await pool.connect()
    } catch (error) {
      throw new Failure(pool.waitingCount > 0 ? 'overloaded' : 'unavailable', { cause: error })
    }
  }

  async function commitAll<Found extends Row>(merchants: readonly string[], statements: Statement[]) {
    const client = await acquire()
    const before = [scopeStatement(merchants), ...preparing(statements)]
    let results: BatchResult[]
    try {
      results = await runBatch(client, [...before, ...statements])
    } catch (error) {
      client.release(!isReported(error))
      throw isReported(error) ? reported(error) : new CommitUnknown(error)
    }
    const waitCancelled = warned.has(client)
    client.release(waitCancelled)
    if (waitCancelled) throw new CommitUnknown(undefined)
    return results.slice(before.length).map((result) => result.rows as Found[])
  }

  async function commit<Found extends Row>(merchants: readonly string[], statement: Statement) {
    return (await commitAll<Found>(merchants, [statement]))[0]!
  }

  async function transaction<Result>(merchants: readonly string[], work: (query: Query) => Promise<Result>) {
    const client = await acquire()
    const query: Query = async <Found extends Row>(statement: Statement) =>
      (await runBatch(client, [...preparing([statement]), statement])).at(-1)!.rows as Found[]
    let result: Result
    try {
      await runBatch(client, [beginStatement, scopeStatement(merchants)])
      result = await work(query)
    } catch (error) {
      const rolledBack = await runBatch(client, [rollbackStatement]).then(
        () => true,
        () => false,
      )
      client.release(!rolledBack)
      if (isReported(error)) throw reported(error)
      throw error instanceof Failure || rolledBack ? error : unavailable(error)
    }
    try {
      const [committed] = await runBatch(client, [commitStatement])
      client.release(warned.has(client))
      if (committed!.command !== 'COMMIT' || warned.has(client)) throw new CommitUnknown(undefined)
    } catch (error) {
      if (error instanceof CommitUnknown) throw error
      client.release(true)
      throw isReported(error) ? reported(error) : new CommitUnknown(error)
    }
    return result
  }

  return {
    commit,
    commitAll,
    async read<Found extends Row>(merchants: readonly string[], statement: Statement) {
      try {
        return await commit<Found>(merchants, statement)
      } catch (error) {
        throw error instanceof CommitUnknown ? unavailable(error) : error
      }
    },
    transaction,
    async check() {
      const client = await acquire()
      try {
        await verifyServer(client)
      } catch (error) {
        throw unavailable(error)
      } finally {
        client.release()
      }
    },
    close() {
      closing = true
      return pool.end()
    },
  }
}

function unavailable(cause: unknown): Failure {
  return new Failure('unavailable', { cause })
}

/** Every new connection is checked: a failover may have put another server behind the same address. */
async function verifyServer(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<Record<string, string>>(
    `select current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
            current_setting('synchronous_commit') as synchronous_commit, current_setting('data_checksums') as data_checksums,
            pg_is_in_recovery()::text as in_recovery, current_setting('server_version_num') as version`,
  )
  const found = rows[0] ?? {}
  const wanted: Record<string, string[]> = {
    fsync: ['on'],
    full_page_writes: ['on'],
    synchronous_commit: ['on', 'remote_apply'],
    data_checksums: ['on'],
    in_recovery: ['false'],
  }
  for (const [setting, values] of Object.entries(wanted))
    if (!values.includes(found[setting] ?? ''))
      throw new Error(`PostgreSQL has ${setting} = ${found[setting]}; Coffer needs ${values.join(' or ')}`)
  if (Number(found['version']) < 150_000) throw new Error('PostgreSQL 15 or newer is needed')
}
