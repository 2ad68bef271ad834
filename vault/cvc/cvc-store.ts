/**
 * The connection to a Valkey or Redis for CVCs. It is used only as long as it is seen to keep nothing on disk: looked at
 * when it is connected to, each time anew, and every second.
 */
import { Failure } from '@coffer/core/errors.ts'
import type { Log } from '@coffer/core/log.ts'
import { gauge } from '@coffer/core/metrics.ts'
import { startRepeating } from '@coffer/core/repeating.ts'
import type { Secret } from '@coffer/core/secret.ts'

export type CvcStore = {
  /** @throws Failure unavailable while it cannot be reached or must not be used. */
  ready(): void
  /**
   * Runs a script on one key. With `is_removal` also on a store that must be given nothing any more.
   * @throws Failure unavailable; then the script may have run or not.
   */
  run(script: string, key: string, values: string[], options?: { is_removal?: boolean }): Promise<unknown>
  close(): Promise<void>
}

const connectTimeoutMs = 2_000
const commandTimeoutMs = 1_000
const reconnectMsMax = 1_000
const lookMs = 1_000
/** A start waits this long for the store, and goes on without it. */
const startMs = 3_000
const commandsMax = 10_000

const isUsable = gauge(
  'coffer_cvc_store_usable',
  'Whether the store for CVCs can be reached and keeps nothing on disk; without a store there is no such series.',
  ['role'],
)

/** Thrown for a store that must not be given a CVC. */
export class StoreKeepsData extends Error {
  constructor(problems: string[]) {
    super(`VAULT_CVC_STORE_URL must keep nothing on disk: ${problems.join('; ')}`)
    this.name = 'StoreKeepsData'
  }
}

/** @throws StoreKeepsData; one that cannot be reached is waited for in the background. */
export async function connectToCvcStore(options: {
  url: Secret<string>
  is_declared_volatile: boolean
  log: Log
  /** After each look at a store that may be used, before it is. */
  onReachable(): Promise<void>
}): Promise<CvcStore> {
  const { log } = options
  const { createClient, ErrorReply } = await import('@redis/client')
  const client = createClient({
    url: options.url.expose(),
    disableOfflineQueue: true,
    commandsQueueMaxLength: commandsMax,
    socket: {
      connectTimeout: connectTimeoutMs,
      reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, reconnectMsMax),
    },
  })
  let usable = false
  let keepsData: StoreKeepsData | undefined
  let looking: Promise<void> | undefined

  function setUsable(now: boolean, why?: unknown): void {
    if (usable && !now) log.error({ error: why }, 'the store for CVCs is not used any more')
    if (!usable && now) log.info({}, 'the store for CVCs is used')
    usable = now
    isUsable.set({ role: 'vault' }, now ? 1 : 0)
  }

  /** Reads what the server says of itself; where it may not say all, the setting has to. */
  async function problems(): Promise<string[]> {
    const told = fieldsOf(await within(client.info()))
    const found: string[] = []
    if (told.get('aof_enabled') !== '0') found.push('it has, or may have, appendonly on')
    const save = await within(client.configGet('save')).catch((error: unknown) => {
      if (error instanceof ErrorReply) return undefined
      throw error
    })
    if (save !== undefined && save['save'] !== '') found.push('it saves snapshots (save)')
    if (options.is_declared_volatile) return found
    const hint = 'VAULT_CVC_STORE_IS_VOLATILE=yes says that it does not'
    if (save === undefined) found.push(`it does not tell whether it saves snapshots: ${hint}`)
    if (told.get('role') !== 'master' || told.get('connected_slaves') !== '0')
      found.push(`it has replicas, which may keep data: ${hint}`)
    return found
  }

  async function lookOnce(): Promise<void> {
    try {
      const found = await problems()
      keepsData = found.length > 0 ? new StoreKeepsData(found) : undefined
      if (keepsData === undefined) await options.onReachable()
      setUsable(keepsData === undefined, keepsData)
    } catch (error) {
      setUsable(false, error)
    }
  }

  function look(): Promise<void> {
    looking ??= lookOnce().finally(() => {
      looking = undefined
    })
    return looking
  }

  // Another server may stand behind the same address.
  client.on('error', (error: unknown) => setUsable(false, error))
  client.on('reconnecting', () => setUsable(false))
  client.on('ready', () => void look())
  isUsable.set({ role: 'vault' }, 0)
  const connected = client.connect().then(look)
  connected.catch((error: unknown) => log.warn({ error }, 'the store for CVCs was not connected to'))
  await Promise.race([connected, new Promise((done) => setTimeout(done, startMs).unref())])
  if (keepsData !== undefined) {
    client.destroy()
    throw keepsData
  }
  if (!usable) log.warn({}, 'the store for CVCs cannot be reached yet: no CVC can be collected')
  const repeating = startRepeating(async () => {
    if (client.isReady) await look()
    return lookMs
  })

  function ready(): void {
    if (!usable) throw new Failure('unavailable', { detail: notKept, cause: keepsData })
  }

  return {
    ready,
    async run(script, key, values, { is_removal = false } = {}) {
      if (!is_removal) ready()
      try {
        return await within(client.eval(script, { keys: [key], arguments: values }))
      } catch (error) {
        throw new Failure('unavailable', { detail: notKept, cause: error })
      }
    },
    async close() {
      await repeating.stop()
      // What is under way is waited for: a CVC that has served goes.
      if (client.isReady) await within(client.close()).catch(() => {})
      if (client.isOpen) client.destroy()
    },
  }
}

const notKept = 'CVCs cannot be kept or read at the moment.'

/** A command that is answered too late has been carried out all the same: who waits takes it for not done. */
async function within<Answer>(answering: Promise<Answer>): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_done, fail) => {
    timer = setTimeout(() => fail(new Error('the store for CVCs does not answer')), commandTimeoutMs)
  })
  try {
    return await Promise.race([answering, late])
  } finally {
    clearTimeout(timer)
  }
}

/** `name:value` lines, as INFO gives them. */
function fieldsOf(info: string): Map<string, string> {
  const lines = info.split(/\r?\n/).filter((line) => line.includes(':'))
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]))
}
