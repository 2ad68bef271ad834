import { randomBytes } from 'node:crypto'
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { ask, type StartedProcess, startProcess } from './processes.ts'
import type { Sandbox } from './product.ts'

/**
 * What the same machine does without the product, in the same run: the measure for the product's own
 * figures.
 */

const APPENDS = 1_000
const APPEND_BYTES = 8_192

/** Times 8 KB appends, each followed by fdatasync as a commit does, in the given folder. Milliseconds. */
export function measureFdatasync(directory: string): number[] {
  const file = join(directory, 'fdatasync-yardstick')
  const block = randomBytes(APPEND_BYTES)
  const times_ms: number[] = []
  const handle = openSync(file, 'wx', 0o600)
  try {
    for (let i = 0; i < APPENDS; i += 1) {
      const begin_ms = performance.now()
      writeSync(handle, block)
      fdatasyncSync(handle)
      times_ms.push(performance.now() - begin_ms)
    }
  } finally {
    closeSync(handle)
    rmSync(file)
  }
  return times_ms
}

const SCRATCH = 'bench_scratch'
const ROWS_PER_COMMIT = 64

/** Rows a second of one connection that inserts 64 rows a commit into a table shaped like a card's row. */
export async function measureInserts(postgres: Sandbox['postgres'], seconds: number): Promise<number> {
  const admin = await connectAs(postgres, 'postgres')
  try {
    await admin.query(`drop database if exists ${SCRATCH}`)
    await admin.query(`create database ${SCRATCH}`)
    const client = await connectAs(postgres, SCRATCH)
    try {
      return await insertFor(client, seconds)
    } finally {
      await client.end()
    }
  } finally {
    await admin.query(`drop database if exists ${SCRATCH} with (force)`)
    await admin.end()
  }
}

/** Connects as the superuser; a server that goes away later is noticed by the next query, not by a crash. */
export async function connectAs(postgres: Sandbox['postgres'], database: string): Promise<pg.Client> {
  const { host, port, superuser, password } = postgres
  const client = new pg.Client({ host, port, user: superuser, password, database })
  client.on('error', () => {})
  await client.connect()
  return client
}

async function insertFor(client: pg.Client, seconds: number): Promise<number> {
  await client.query(`
    create table card (
      merchant_id text not null, card_id bytea not null, version integer not null,
      number_ciphertext bytea not null, number_fingerprint bytea not null,
      brand text not null, last4 text not null, exp_month smallint not null, exp_year smallint not null,
      customer text, metadata jsonb not null, created_at timestamptz not null default now(),
      primary key (merchant_id, card_id))`)
  const insert = {
    name: 'insert',
    text: `
      insert into card (merchant_id, card_id, version, number_ciphertext, number_fingerprint, brand, last4,
                        exp_month, exp_year, customer, metadata)
      select 'mer_yardstick', card_id, 1, number_ciphertext, number_fingerprint, 'visa', last4,
             12, 2031, customer, metadata
      from unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::text[], $5::text[], $6::jsonb[])
        as row (card_id, number_ciphertext, number_fingerprint, last4, customer, metadata)`,
  }
  const begin_ms = performance.now()
  let rows = 0
  while (performance.now() - begin_ms < seconds * 1_000) {
    await client.query({ ...insert, values: insertValues(rows) })
    rows += ROWS_PER_COMMIT
  }
  return rows / ((performance.now() - begin_ms) / 1_000)
}

function insertValues(first: number): unknown[][] {
  const indexes = Array.from({ length: ROWS_PER_COMMIT }, (_, i) => first + i)
  return [
    indexes.map(() => timeOrderedId()),
    indexes.map(() => randomBytes(48)),
    indexes.map(() => randomBytes(32)),
    indexes.map((index) => String(index % 10_000).padStart(4, '0')),
    indexes.map((index) => `customer-${index}`),
    indexes.map(() => '{"plan":"team-annual","source":"bench"}'),
  ]
}

/**
 * 48 bits of time, then 128 random bits: as card ids are, because the order of a key decides what an insert
 * costs.
 */
function timeOrderedId(): Buffer {
  const id = randomBytes(22)
  id.writeUIntBE(Date.now(), 0, 6)
  return id
}

/** Starts a bare Fastify server that answers the same requests with the sample answer. */
export async function startBareServer(
  sample_answer: string,
): Promise<{ started: StartedProcess; port: number }> {
  const started = startProcess({
    args: [join(import.meta.dirname, 'bare-server.ts')],
    cwd: import.meta.dirname,
  })
  const port = await ask(started, { sample_answer }, (message) => (message as { port?: number }).port)
  return { started, port }
}
