/**
 * The webhooks of a simulated PSP: what it tells of the payments it executed, sent to one address until that has
 * taken it. A notice is in the journal with the execution that it tells of, so a crash loses none; one that was taken
 * just before a crash is sent again, as real PSPs do. The PSP's own module makes the notices and signs them.
 */
import type { Log } from '@coffer/core/log.ts'
import { FaultInputError } from './faults.ts'

/** One delivery, before it is signed. */
export type Notice = {
  id: string
  body: string
  /** On the simulator's clock; at once where it is left out. */
  not_before_ms?: number
}

export type SignedNotice = { headers: Record<string, string>; body: string }

/** Where notices go, and what becomes of them on the way: chances from 0 to 1. */
export type WebhookSettings = {
  url: string | null
  secret: string
  delay_ms: number
  /** That a notice is sent once more after it was taken. */
  duplicate: number
  /** That it is never sent. */
  drop: number
  /** That of all that are due the newest is sent first. */
  reorder: number
}

/** Lines of the journal that are about notices, beside those of an execution. */
export type WebhookEntry = { webhooks?: WebhookSettings; notices?: Notice[]; notices_ended?: string[] }

export type Webhooks = {
  /** Where false, nobody wants to hear anything, and notices need not be made. */
  isWanted(): boolean
  /** Sends what the journal holds by now. */
  send(notices: Notice[]): void
  takeUp(entry: WebhookEntry): void
  /** Begins to send, and from then on keeps in the journal what was taken. */
  start(append: (entry: string) => Promise<unknown>): void
  settings(): WebhookSettings & { waiting: number }
  put(body: unknown): Promise<void>
  clockMoved(): void
  clear(): void
  stop(): Promise<void>
}

type Waiting = Notice & { tries: number; due_ms: number }

const waitingMax = 10_000
const triesMax = 40
const answerTimeout_ms = 10_000
const backoffMin_ms = 100
const backoffMax_ms = 10_000
const delayMax_ms = 86_400_000

const settingsDefault: WebhookSettings = {
  url: null,
  secret: '',
  ...{ delay_ms: 0, duplicate: 0, drop: 0, reorder: 0 },
}

function readSettings(body: unknown, known: WebhookSettings): WebhookSettings {
  if (typeof body !== 'object' || body === null) throw new FaultInputError('expected {"url": …, "secret": …}')
  const settings: Record<string, unknown> = { ...known }
  for (const [name, value] of Object.entries(body)) {
    if (!Object.hasOwn(settingsDefault, name)) throw new FaultInputError(`unknown property '${name}'`)
    const most = name === 'delay_ms' ? delayMax_ms : 1
    const isGood =
      name === 'url'
        ? value === null || (typeof value === 'string' && URL.canParse(value))
        : name === 'secret'
          ? typeof value === 'string'
          : typeof value === 'number' && value >= 0 && value <= most
    if (!isGood) throw new FaultInputError(`${name}: ${JSON.stringify(value)} is not possible`)
    settings[name] = value
  }
  return settings as WebhookSettings
}

export function createWebhooks(
  sign: ((body: string, secret: string, now_ms: number) => SignedNotice) | undefined,
  now_ms: () => number,
  log?: Log,
): Webhooks {
  const waiting = new Map<string, Waiting>()
  const stopping = new AbortController()
  let settings = settingsDefault
  let append: ((entry: string) => Promise<unknown>) | undefined
  let timer: NodeJS.Timeout | undefined
  let sending: Promise<void> | undefined

  function add(notice: Notice, at_ms: number) {
    if (waiting.size >= waitingMax) {
      waiting.delete(waiting.keys().next().value!)
      log?.warn({ count: waitingMax }, 'dropped the oldest of too many waiting webhooks')
    }
    const due_ms = Math.max(notice.not_before_ms ?? 0, at_ms + settings.delay_ms)
    waiting.set(notice.id, { ...notice, tries: 0, due_ms })
  }

  function end(id: string) {
    waiting.delete(id)
    append?.(JSON.stringify({ changes: [], notices_ended: [id] })).catch((error: unknown) => {
      log?.error({ error }, 'could not keep that a webhook was taken')
    })
  }

  /** True where the receiver has taken it: any 2xx. */
  async function post(notice: Waiting): Promise<boolean> {
    const { headers, body } = sign!(notice.body, settings.secret, now_ms())
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(answerTimeout_ms)])
    try {
      const response = await fetch(settings.url!, {
        method: 'POST',
        headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
        body,
        redirect: 'manual',
        signal,
      })
      await response.arrayBuffer()
      return response.ok
    } catch {
      return false
    }
  }

  async function deliver(notice: Waiting) {
    if (Math.random() < settings.drop) return end(notice.id)
    const isTaken = await post(notice)
    if (isTaken && Math.random() < settings.duplicate) await post(notice)
    if (stopping.signal.aborted) return
    notice.tries++
    if (isTaken || notice.tries >= triesMax) return end(notice.id)
    notice.due_ms = now_ms() + Math.min(backoffMin_ms * 2 ** (notice.tries - 1), backoffMax_ms)
  }

  /** One after the other: a notice that is not taken waits, while those behind it go on. */
  async function sendDue() {
    while (settings.url !== null && !stopping.signal.aborted) {
      const due = [...waiting.values()].filter(({ due_ms }) => due_ms <= now_ms())
      const next = Math.random() < settings.reorder ? due.at(-1) : due[0]
      if (next === undefined) break
      await deliver(next)
    }
  }

  function wake() {
    if (append === undefined || sending !== undefined || settings.url === null) return
    sending = sendDue().finally(() => {
      sending = undefined
      wakeWhenDue()
    })
  }

  function wakeWhenDue() {
    clearTimeout(timer)
    if (waiting.size === 0 || settings.url === null || stopping.signal.aborted) return
    let due_ms = Number.POSITIVE_INFINITY
    for (const notice of waiting.values()) due_ms = Math.min(due_ms, notice.due_ms)
    timer = setTimeout(wake, Math.min(Math.max(due_ms - now_ms(), 1), 60_000))
  }

  function clear() {
    waiting.clear()
    settings = settingsDefault
  }

  return {
    isWanted: () => settings.url !== null,
    send(notices) {
      if (notices.length === 0) return
      // At one time, so that those of one change are due together.
      const at_ms = now_ms()
      for (const notice of notices) add(notice, at_ms)
      wake()
    },
    takeUp({ webhooks, notices, notices_ended }) {
      if (webhooks) settings = webhooks
      for (const notice of notices ?? []) add(notice, now_ms())
      for (const id of notices_ended ?? []) waiting.delete(id)
    },
    start(appendToJournal) {
      append = appendToJournal
      wake()
    },
    settings: () => ({ ...settings, waiting: waiting.size }),
    async put(body) {
      if (sign === undefined) throw new FaultInputError('this PSP sends no webhooks')
      const changed = readSettings(body, settings)
      await append!(JSON.stringify({ changes: [], webhooks: changed }))
      settings = changed
      wake()
    },
    clockMoved: wake,
    clear,
    async stop() {
      stopping.abort()
      clearTimeout(timer)
      await sending
    },
  }
}
