/**
 * One request to a simulated PSP, from the idempotency key to the answer: the part every PSP has in common.
 * The PSP hands in what to execute; its own words for the common errors are its dialect.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Delays } from './delays.ts'
import type { Fault, Faults, FaultTarget } from './faults.ts'
import type { IdempotencyKeys, SavedAnswer } from './idempotency.ts'
import type { Journal, Span } from './journal.ts'
import type { Notice, WebhookEntry, Webhooks } from './webhooks.ts'

export type Answer = { status: number; body: string }

/** What an execution did: `changes` are kept in the journal and applied to what the simulator knows. */
export type Execution<Change> = { answer: Answer; changes: Change[] }

type ExchangeRequest<Change> = {
  /** Null where the client sent none. */
  idempotency_key: string | null
  account: string
  parameters_hash: string
  target: Omit<FaultTarget, 'replayed'>
  /**
   * Runs at once, without waiting for anything, and changes nothing by itself. A PSP saves no answer under a
   * key for a request that is wrong in itself: such a one is refused before it comes here.
   * @param decline_code the issuer's refusal that a fault asks for.
   */
  execute(decline_code: string | null): Execution<Change>
}

/** A PSP's own wording of what all PSPs answer. */
export type Dialect = {
  keyInUse(key: string): Answer
  keyMismatch(key: string): Answer
  rateLimited(): Answer
  serverError(): Answer
  /** Whether an answer with this status is kept under its key; where it is not, the key is free again. */
  isKept(status: number): boolean
  replay_headers: Record<string, string>
}

export type JournalEntry<Change> = WebhookEntry & {
  changes: Change[]
  key?: { account: string; key: string; hash: string; status: number; at_ms: number }
}

export type ExchangeParts<Change> = {
  journal: Journal
  keys: IdempotencyKeys
  faults: Faults
  delays: Delays
  dialect: Dialect
  webhooks: Webhooks
  now_ms(): number
  apply(changes: Change[]): void
  /** Applies them too; the notices tell of what they change. Called where somebody wants to hear it. */
  applyAndTell(changes: Change[]): Notice[]
}

export type Exchange<Change> = {
  serve(
    request: FastifyRequest,
    reply: FastifyReply,
    exchange: ExchangeRequest<Change>,
  ): Promise<FastifyReply>
  /** Keeps what happened without a request of a client. */
  record(changes: Change[]): Promise<void>
  /** Forgets the keys, and what was accepted and not yet executed. */
  forget(): void
}

/** Takes up one entry of the journal, at start. */
export function takeUp<Change>(
  { keys, apply, webhooks, now_ms }: Pick<ExchangeParts<Change>, 'keys' | 'apply' | 'webhooks' | 'now_ms'>,
  entry: JournalEntry<Change>,
  answer: Span,
) {
  const { changes, key } = entry
  apply(changes)
  webhooks.takeUp(entry)
  if (!key) return
  const { hash, status, at_ms } = key
  const saved = { ...answer, parameters_hash: hash, status, saved_at_ms: at_ms }
  keys.save(key.account, key.key, saved, now_ms())
}

type Found = { refused: Answer } | { saved: SavedAnswer } | null

function findKey<Change>(parts: ExchangeParts<Change>, exchange: ExchangeRequest<Change>): Found {
  const { idempotency_key: key, account, parameters_hash } = exchange
  const saved = key === null ? undefined : parts.keys.find(account, key, parts.now_ms())
  if (key === null || saved === undefined) return null
  if (saved === 'in_use') return { refused: parts.dialect.keyInUse(key) }
  return saved.parameters_hash === parameters_hash ? { saved } : { refused: parts.dialect.keyMismatch(key) }
}

export function createExchange<Change>(parts: ExchangeParts<Change>): Exchange<Change> {
  const { journal, keys, faults, dialect, delays, webhooks } = parts
  /** Counts the resets: what was executed before one must not leave its key behind after it. */
  let epoch = 0

  function apply(changes: Change[]): Notice[] {
    if (changes.length > 0 && webhooks.isWanted()) return parts.applyAndTell(changes)
    parts.apply(changes)
    return []
  }

  /** Executes, and returns when what was done and answered is durable. */
  async function executeDurably(exchange: ExchangeRequest<Change>, fault: Fault | null): Promise<Answer> {
    const { account, idempotency_key: key, parameters_hash: hash } = exchange
    const done =
      fault?.kind === 'server_error_before'
        ? { answer: dialect.serverError(), changes: [] }
        : exchange.execute(fault?.kind === 'decline' ? fault.decline_code : null)
    const answer = fault?.kind === 'server_error_after' ? dialect.serverError() : done.answer
    const { status } = answer
    const notices = apply(done.changes)
    const kept = notices.length > 0 ? { changes: done.changes, notices } : { changes: done.changes }
    if (key === null) {
      // What is read must not vanish in a crash either, so a read waits for the writes it may have seen.
      if (done.changes.length === 0) await journal.settled()
      else await journal.append(JSON.stringify(kept), '')
      webhooks.send(notices)
      return answer
    }
    const at_ms = parts.now_ms()
    const isKept = dialect.isKept(status)
    const entry: JournalEntry<Change> = isKept
      ? { ...kept, key: { account, key, hash, status, at_ms } }
      : kept
    const begun = epoch
    keys.claim(account, key)
    const span = await journal.append(JSON.stringify(entry), isKept ? answer.body : '')
    if (begun !== epoch) return answer
    if (isKept)
      keys.save(account, key, { ...span, parameters_hash: hash, status, saved_at_ms: at_ms }, parts.now_ms())
    else keys.release(account, key)
    webhooks.send(notices)
    return answer
  }

  /** The key is in use while the request waits; a reset or the end of the simulator forgets it unexecuted. */
  async function executeLate(exchange: ExchangeRequest<Change>, fault: Fault): Promise<Answer | null> {
    const { account, idempotency_key: key } = exchange
    if (key !== null) keys.claim(account, key)
    return (await delays.wait(fault.delay_ms)) ? executeDurably(exchange, fault) : null
  }

  async function serve(request: FastifyRequest, reply: FastifyReply, exchange: ExchangeRequest<Change>) {
    const found = findKey(parts, exchange)
    if (found && 'refused' in found) return send(reply, found.refused)
    const fault = faults.choose({ ...exchange.target, replayed: found !== null })
    const kind = fault?.kind
    if (kind === 'rate_limit') return send(reply, dialect.rateLimited())
    if (kind === 'reset_before') return reset(request, reply)
    if (kind === 'hang_before') return reply.hijack()

    let answer: Answer | null
    if (found) answer = { status: found.saved.status, body: await journal.read(found.saved) }
    else if (kind === 'late') answer = await executeLate(exchange, fault!)
    else answer = await executeDurably(exchange, fault)

    if (answer === null || kind === 'reset_after') return reset(request, reply)
    if (kind === 'hang_after') return reply.hijack()
    if (kind === 'slow') await delays.wait(fault!.delay_ms)
    if (found) reply.headers(dialect.replay_headers)
    return send(reply, answer)
  }

  return {
    serve,
    async record(changes) {
      const notices = apply(changes)
      await journal.append(JSON.stringify({ changes, notices }), '')
      webhooks.send(notices)
    },
    forget() {
      epoch++
      keys.clear()
      delays.giveUp()
    },
  }
}

export function send(reply: FastifyReply, { status, body }: Answer): FastifyReply {
  return reply.code(status).header('content-type', 'application/json').send(body)
}

function reset(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  reply.hijack()
  request.raw.socket.resetAndDestroy()
  return reply
}
