/** What every simulated PSP is made of beside its own protocol: its files, its faults, its control endpoints. */
import { createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '@coffer/core/log.ts'
import type { FastifyInstance } from 'fastify'
import { type LedgerRow, registerControl } from './control.ts'
import { createDelays } from './delays.ts'
import { createExchange, type Dialect, type Exchange, type JournalEntry, takeUp } from './exchange.ts'
import { createFaults, type DeclineCodes } from './faults.ts'
import { createIdempotencyKeys } from './idempotency.ts'
import { openJournal } from './journal.ts'
import { createServiceTimes, type ServiceTimes } from './service-times.ts'
import { type Settings, settingsDefault } from './settings.ts'
import { createWebhooks, type Notice, type SignedNotice } from './webhooks.ts'

export type SimulatorConfig = {
  host: string
  /** 0 takes any free one. */
  port: number
  /** Where ledgers and idempotency keys are kept; made where it does not exist. */
  data_directory: string
}

export type Simulator = { url: string; stop(): Promise<void> }

/** With what a sandbox connects its first merchant. */
export type SandboxAccount = {
  /** Of the connection. */
  name: string
  secret: string
  /** As the PSP gives them out: what a simulator signs its webhooks with. */
  webhook_secret: string
  settings: Record<string, string>
  /** The oldest connection is the one that is charged where none is named: true for one PSP. */
  is_first: boolean
}

/** One PSP: what it knows, changed by `apply` alone, and how it words what all of them answer. */
export type Psp<Change> = {
  psp: string
  dialect: Dialect
  decline_codes: DeclineCodes
  state: { apply(changes: Change[]): void; clear(): void }
  /** Where it begins otherwise than others. */
  settings?: Partial<Settings>
  /** What happened to money, oldest first. */
  ledger(): LedgerRow[]
  /** Left out by a PSP that tells nobody. */
  webhooks?: {
    /** Signs one delivery, at the time it is sent. */
    sign(body: string, secret: string, now_ms: number): SignedNotice
    /** Applies the changes, and words what the PSP tells of them. */
    applyAndTell(changes: Change[], now_ms: number): Notice[]
  }
}

export type Parts<Change> = {
  settings: Settings
  exchange: Exchange<Change>
  service_times: ServiceTimes
  /** A keyed digest: the same text gives the same one, on this installation only. */
  digest(text: string): string
  now_ms(): number
}

/**
 * Of this installation only: without it, a fingerprint or a hash in the journal says nothing about a number.
 */
async function readOrMakeKey(path: string): Promise<KeyObject> {
  const existing = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (existing?.length === 32) return createSecretKey(existing)
  const bytes = randomBytes(32)
  const file = await open(path, 'w', 0o600)
  await file.writeFile(bytes)
  await file.datasync()
  await file.close()
  return createSecretKey(bytes)
}

/** Serves once everything in `data_directory` is read back. @param serve makes the server with the PSP's routes. */
export async function startSimulator<Change>(
  config: SimulatorConfig,
  { psp, state, dialect, decline_codes, ledger, webhooks: own, settings: ownSettings }: Psp<Change>,
  serve: (parts: Parts<Change>) => FastifyInstance,
  log?: Log,
): Promise<Simulator> {
  await mkdir(config.data_directory, { recursive: true, mode: 0o700 })
  const key = await readOrMakeKey(join(config.data_directory, `${psp}.key`))
  const settings = { ...settingsDefault, ...ownSettings }
  const faults = createFaults()
  const keys = createIdempotencyKeys(() => settings.idempotency_key_ttl_ms)
  const service_times = createServiceTimes()
  const now_ms = () => Date.now() + settings.clock_offset_ms
  const delays = createDelays(now_ms)
  const webhooks = createWebhooks(own?.sign, now_ms, log)

  const known = { keys, apply: state.apply, webhooks, now_ms }
  const journal = await openJournal(
    join(config.data_directory, `${psp}.journal`),
    (entry, answer) => takeUp(known, entry as JournalEntry<Change>, answer),
    (count) =>
      log?.warn({ psp, count }, 'cut a half-written tail of this many bytes off a simulator journal'),
  )
  const exchange = createExchange<Change>({
    ...{ ...known, journal, faults, delays, dialect },
    applyAndTell: (changes) => own!.applyAndTell(changes, now_ms()),
  })
  const digest = (text: string) => createHmac('sha256', key).update(text).digest('base64url')
  const app = serve({ settings, exchange, service_times, digest, now_ms })
  registerControl(app, {
    faults,
    settings,
    decline_codes,
    service_times,
    webhooks,
    clockMoved() {
      delays.clockMoved()
      webhooks.clockMoved()
    },
    async ledger() {
      const rows = ledger()
      await journal.settled()
      return rows
    },
    async reset() {
      // All in one go, so that what comes in between is either forgotten and cut off, or known and kept.
      exchange.forget()
      webhooks.clear()
      state.clear()
      faults.replace([])
      service_times.clear()
      Object.assign(settings, settingsDefault, ownSettings)
      await journal.clear()
    },
  })
  const stop = async () => {
    await app.close()
    exchange.forget()
    await webhooks.stop()
    await journal.close()
  }
  try {
    const url = await app.listen({ host: config.host, port: config.port })
    webhooks.start((entry) => journal.append(entry, ''))
    return { url, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
