/**
 * Forwards that merchants ask for: a request of their own, with marks where card data belong, to one of their
 * destinations. At most one request leaves for an Idempotency-Key. It is recorded, durably, before its first byte
 * is sent; what became of it is written without being waited for, so a record without an end means that it may have
 * been sent.
 */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import { bodyHmac, keyReused } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { Cards } from '../../cards/cards.ts'
import type { CardUsage } from '../../cards/usage.ts'
import type { CvcLeases } from '../../cvc/cvc-leases.ts'
import type { Keyring } from '../../keys/keyring.ts'
import { notRecorded } from '../../reveal-records.ts'
import type { Tokens } from '../../tokens/tokens.ts'
import type { Destinations, OpenDestination } from '../destinations/destinations.ts'
import { finish } from '../destinations/finishing.ts'
import { destinationSeconds } from '../forwards.ts'
import type { FilledRequest } from '../marks.ts'
import { passedOn, secretsOf } from './answer.ts'
import { dryRunOf, type Redacted, redacted } from './dry-run.ts'
import type { Exchange, Exchanged } from './exchange.ts'
import { checkNewForward, fillForward } from './filling.ts'
import { endOf, forwardOf } from './forward-object.ts'
import * as queries from './queries.ts'
import type { DryRun, Forward, NewForward } from './schemas.ts'
import { openSource, type Source, valuesFrom } from './sources.ts'
import { allowedBy, type Target, targetOf } from './target.ts'

export type ForwardRequests = ReturnType<typeof createForwardRequests>

/** Where the time went, in milliseconds. */
export type Timing = { vault: number; policy: number; destination: number }

const defaultTimeoutMs = 10_000
/** Behind its time limit a request needs this long at most to be answered: then nobody is at work on it. */
const settlingMs = 5_000
const groupLimits = { batch_max: 128, in_flight_max: 1 }
const afterAllIds = 'fwd_~'

/** A request that may be sent, as far as its merchant's rules, its card and its token are concerned. */
type Prepared = {
  target: Target
  destination: OpenDestination
  source: Source
  redacted: Redacted
  policy_ms: number
}

export function createForwardRequests(deps: {
  database: Database
  keyring: Keyring
  cards: Cards
  tokens: Tokens
  cvcLeases: CvcLeases
  usage: CardUsage
  destinations: Destinations
  exchange: Exchange
  allowLoopback: boolean
  clock: Clock
  log: Log
}) {
  const records = createGroupCommit<queries.ForwardInsert, boolean>({
    name: 'forward_requests.record',
    write: (entries) => queries.insertForwards(deps.database, entries),
    ...groupLimits,
    queue_max: 2_000,
  })
  const results = createGroupCommit<queries.ForwardEnd, true>({
    name: 'forward_requests.result',
    write: (entries) => queries.endForwards(deps.database, entries),
    ...groupLimits,
    queue_max: 10_000,
    gather_ms: 20,
  })

  /** What the key stands for already; undefined where it is new. */
  async function known(caller: Caller, key: string, hmacs: Buffer[]): Promise<Forward | undefined> {
    const found = await queries.findByKey(deps.database, caller.merchant_id, key, hmacs)
    if (found === undefined) return undefined
    if (!found.same_body) throw keyReused()
    if (found.row.state === 'recorded' && !found.row.is_overdue)
      throw new Failure('idempotency_key_in_use', { param: 'Idempotency-Key', retryAfterSeconds: 1 })
    return forwardOf(found.row)
  }

  async function prepare(merchantId: string, input: NewForward): Promise<Prepared> {
    const startedMs = performance.now()
    checkNewForward(input)
    const target = targetOf(input.url, deps.allowLoopback)
    const destinations = await deps.destinations.open(merchantId, target.origin)
    const destination = allowedBy(destinations, input.method, target.path)
    const checked = redacted(input, target)
    const policyMs = performance.now() - startedMs
    const source = await openSource(deps, merchantId, input)
    return { target, destination, source, redacted: checked, policy_ms: policyMs }
  }

  /** Written without being awaited: if it is lost, the record still says that it may have been sent. */
  function end(result: queries.ForwardEnd): void {
    const { forward_id } = result
    results
      .add(result)
      .then(() => failpoint('vault.forward.after_result'))
      .catch((error) => deps.log.error({ forward_id, error }, 'a forward result was not written'))
  }

  /** False where the key was taken meanwhile, or the card has changed. @throws Failure: then nothing is sent. */
  async function record(row: queries.ForwardInsert): Promise<boolean> {
    failpoint('vault.forward.before_record')
    const isRecorded = await records.add(row).catch((error: unknown) => {
      // If it is there all the same, it is told that nothing was sent.
      if (error instanceof Failure && error.code === 'outcome_unknown')
        end({ ...row, ended_at: row.recorded_at, ...endOf({ kind: 'unanswered', sent: false }) })
      return notRecorded(error)
    })
    failpoint('vault.forward.after_record')
    return isRecorded
  }

  async function exchange(
    destination: OpenDestination,
    filled: FilledRequest,
    timeoutMs: number,
  ): Promise<{ exchanged: Exchanged; ms: number }> {
    const startedMs = performance.now()
    const exchanged = await deps.exchange.send(destination, filled, timeoutMs)
    const ms = performance.now() - startedMs
    const { state: outcome } = endOf(exchanged)
    destinationSeconds.observe({ outcome }, ms / 1000)
    failpoint('vault.forward.after_answer')
    return { exchanged, ms }
  }

  type Asked = { caller: Caller; input: NewForward; key: string; body_hmac: Buffer; started_ms: number }
  type Answered = { forward: Forward; timing: Timing }

  /** Undefined where it was not recorded, because something has changed since it was looked at. */
  async function sendOnce(asked: Asked, prepared: Prepared): Promise<Answered | undefined> {
    const { caller, input } = asked
    const { source, target, destination } = prepared
    const forwardId = newId('forward')
    const cvc = await takeCvc(prepared, forwardId)
    const values = { ...source.values, ...(cvc === undefined ? {} : { 'card.cvc': cvc }) }
    let isSent = false
    try {
      const filled = fillForward(input, target, valuesFrom(values))
      const finished = await finish(filled, destination, deps.clock.now())
      const recordedAt = deps.clock.now()
      const timeoutMs = input.timeout_ms ?? defaultTimeoutMs
      const isRecorded = await record({
        ...caller,
        forward_id: forwardId,
        idempotency_key: asked.key,
        body_hmac: asked.body_hmac,
        card: source.card,
        token_id: source.token_id,
        destination_id: destination.destination_id,
        method: input.method,
        url: input.url,
        origin: target.origin,
        recorded_at: recordedAt.toISOString(),
        waits_ms: timeoutMs + settlingMs,
        card_audit_id: newId('audit'),
        token_audit_id: newId('audit'),
      })
      if (!isRecorded) return undefined
      const { exchanged, ms } = await exchange(destination, finished, timeoutMs)
      isSent = exchanged.kind === 'answered' || exchanged.sent
      if (isSent && source.card !== undefined) deps.usage.count(source.card)
      const answer = exchanged.kind === 'answered' ? passedOn(exchanged.answer, secretsOf(values)) : undefined
      const row = {
        forward_id: forwardId,
        card_id: source.card?.card_id ?? null,
        card_version_id: source.card?.card_version_id ?? null,
        token_id: source.token_id ?? null,
        destination_id: destination.destination_id,
        method: input.method,
        url: input.url,
        recorded_at: recordedAt,
        ended_at: deps.clock.now(),
        is_overdue: false,
        ...endOf(exchanged, answer),
      }
      end({ ...caller, ...row, ended_at: row.ended_at.toISOString() })
      const timing = timingOf(asked.started_ms, prepared.policy_ms, ms)
      return { forward: forwardOf(row, answer), timing }
    } finally {
      if (cvc !== undefined) await deps.cvcLeases[isSent ? 'forget' : 'giveBack'](source.card!, forwardId)
    }
  }

  /** Undefined where the request wants none. @throws Failure cvc_unavailable, unavailable */
  async function takeCvc({ source, redacted }: Prepared, forwardId: string): Promise<string | undefined> {
    if (source.card === undefined || !redacted.marks.some(({ mark }) => mark === 'card.cvc')) return undefined
    const cvc = await deps.cvcLeases.take(source.card, forwardId)
    if (cvc === undefined) throw new Failure('cvc_unavailable', { param: 'card' })
    return cvc
  }

  return {
    /**
     * Sends the request, once, and gives its answer without card data; an earlier one of the same key is told of
     * without its answer, which is kept nowhere.
     * @throws Failure as the route declares: then this call has sent nothing.
     */
    async forward(caller: Caller, input: NewForward, key: string): Promise<Answered> {
      const startedMs = performance.now()
      const { dry_run: _left_out, ...compared } = input
      const hmacs = deps.keyring.fingerprints.bodyKeys.map(({ bodyKey }) => bodyHmac(bodyKey, compared))
      const asked = { caller, input, key, body_hmac: hmacs[0]!, started_ms: startedMs }
      for (;;) {
        const earlier = await known(caller, key, hmacs)
        if (earlier !== undefined) return { forward: earlier, timing: timingOf(startedMs, 0, 0) }
        const answered = await sendOnce(asked, await prepare(caller.merchant_id, input))
        if (answered !== undefined) return answered
      }
    },

    /** Sends nothing and records nothing. @throws Failure as `forward`, but for values that are not there. */
    async dryRun(caller: Caller, input: NewForward): Promise<DryRun> {
      const { source, target, destination, redacted } = await prepare(caller.merchant_id, input)
      await finish(redacted.request, destination, deps.clock.now())
      const wantsCvc = redacted.marks.some(({ mark }) => mark === 'card.cvc')
      const hasCvc = wantsCvc && source.card !== undefined && (await deps.cvcLeases.has(source.card))
      return dryRunOf(redacted, target, destination, (mark) =>
        mark === 'card.cvc' ? hasCvc : source.values[mark] !== undefined,
      )
    },

    async get(merchantId: string, forwardId: string): Promise<Forward> {
      const row = isId('forward', forwardId)
        ? await queries.findForward(deps.database, merchantId, forwardId)
        : undefined
      if (row === undefined) throw new Failure('not_found')
      return forwardOf(row)
    },

    /** Newest first. */
    async list(merchantId: string, page: { cursor?: string; limit: number }) {
      checkCursor('forward', page.cursor)
      const asked = { before: page.cursor ?? afterAllIds, limit: page.limit }
      const rows = await queries.listForwards(deps.database, merchantId, asked)
      return pageOf(
        rows.map((row) => forwardOf(row)),
        page.limit,
      )
    },

    async drain(): Promise<void> {
      await records.drain()
      await results.drain()
    },
    close: () => deps.exchange.close(),
  }
}

function timingOf(startedMs: number, policyMs: number, destinationMs: number): Timing {
  const vaultMs = performance.now() - startedMs - policyMs - destinationMs
  return { vault: vaultMs, policy: policyMs, destination: destinationMs }
}
