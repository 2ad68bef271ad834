/**
 * The sealer of a zone: gives the records of its audit trail their places in the chain, within a second of their
 * commit, and makes and exports checkpoints. Writers know nothing of it. One process does so at a time; its fence and
 * the place it read are checked in the very statement that seals, so one that was paused past its lease seals nothing.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type CheckpointSigner, nextHash, recordText } from './audit-chain.ts'
import type { CheckpointFile } from './audit-checkpoint-file.ts'
import * as queries from './audit-seal-queries.ts'
import { failpoint } from './failpoint.ts'
import type { Log } from './log.ts'
import { startMeasuring } from './measuring.ts'
import { auditFailures, counter, gauge } from './metrics.ts'
import type { Database } from './postgres.ts'

export type Sealer = {
  /** What an operator must know of while this process goes on serving. */
  warnings(): string[]
  /** Seals what is left, makes a last checkpoint and exports it. */
  stop(): Promise<void>
}

/** Small and often: while a batch is hashed, nothing else of this process is answered. */
const batchMax = 250
/** Well within the second in which a record is sealed. */
const pauseMs = 150
const leaseRenewMs = 2_000
const checkpointMs = 10_000
const checkpointRecords = 10_000n
const exportBatch = 1_000

const unsealed = gauge(
  'coffer_audit_unsealed_seconds',
  'Age of the oldest audit record that is not in the chain yet.',
  ['zone'],
)
const sealedTotal = counter('coffer_audit_sealed_total', 'Audit records put into the chain.', ['zone'])
type Step = 'seal' | 'checkpoint' | 'export'
const counted = ['record', 'attempt', 'seal', 'checkpoint', 'export']

export function startSealer(deps: {
  zone: string
  relayDatabase: Database
  signer: CheckpointSigner
  file: CheckpointFile
  log: Log
}): Sealer {
  const { zone, relayDatabase, signer, file, log } = deps
  const holder = randomUUID()
  const stopping = new AbortController()
  const failing = new Map<Step, string>()
  let fence: bigint | undefined
  let leaseSeenMs = 0
  let checkpointedMs = performance.now()
  // A series that is there before the first failure: only then an increase can be seen.
  for (const step of counted) auditFailures.inc({ zone, step }, 0)

  async function holdLease(): Promise<boolean> {
    const now = performance.now()
    if (fence !== undefined && now - leaseSeenMs < leaseRenewMs) return true
    fence = await queries.holdLease(relayDatabase, zone, holder)
    leaseSeenMs = now
    return fence !== undefined
  }

  /** One batch. Gives the head behind it, undefined where the chain is another's by now. */
  async function sealBatch(): Promise<{ head: queries.Head; isWhole: boolean } | undefined> {
    const { head, records } = await queries.findUnsealed(relayDatabase, zone, batchMax)
    const isWhole = records.length < batchMax
    // Where the batch before ended its snapshot to the record, that snapshot still has to be taken off.
    if (records.length === 0 && !head.in_snapshot) return { head, isWhole }
    const hashes: Buffer[] = []
    for (const record of records) hashes.push(nextHash(hashes.at(-1) ?? head.hash, recordText(zone, record)))
    failpoint('core.audit.before_seal')
    const input = { zone, holder, fence: fence!, head, records, hashes, isWhole }
    const held = await queries.seal(relayDatabase, input)
    failpoint('core.audit.after_seal')
    if (!held) {
      fence = undefined
      log.warn({}, 'another process has taken the sealer over: nothing was sealed')
      return undefined
    }
    sealedTotal.inc({ zone }, records.length)
    const sequence = head.sequence + BigInt(records.length)
    return { head: { ...head, sequence, hash: hashes.at(-1) ?? head.hash }, isWhole }
  }

  async function sealAll(): Promise<queries.Head | undefined> {
    while (await holdLease()) {
      const sealed = await sealBatch()
      if (sealed === undefined) return undefined
      if (sealed.isWhole) return sealed.head
    }
    return undefined
  }

  /** Gives how far checkpoints reach now. */
  async function makeCheckpoint({
    sequence,
    hash,
    last_checkpoint,
    looked_at,
  }: queries.Head): Promise<bigint> {
    const isDue =
      stopping.signal.aborted ||
      sequence - last_checkpoint >= checkpointRecords ||
      performance.now() - checkpointedMs >= checkpointMs
    if (sequence === last_checkpoint || !isDue) return last_checkpoint
    const signed = signer.sign(Number(sequence), hash, looked_at)
    const at = { zone, holder, fence: fence!, sequence, hash }
    const made = await queries.insertCheckpoint(relayDatabase, at, signed)
    failpoint('core.audit.after_checkpoint')
    checkpointedMs = performance.now()
    return made ? sequence : last_checkpoint
  }

  /** What the file does not hold yet. A file that knows more than the database is evidence, and left as it is. */
  async function exportCheckpoints(reach: bigint): Promise<void> {
    while (file.lastSequence() !== reach) {
      const last = file.lastSequence()
      if (last > reach)
        throw new Error(
          `the exported checkpoints reach to record ${last}, those in the database only to ${reach}`,
        )
      const checkpoints = await queries.listCheckpoints(relayDatabase, last, exportBatch)
      const lines = checkpoints.map(({ checkpoint, signature }) => ({ checkpoint, signature }))
      file.append(lines, checkpoints.at(-1)!.sequence)
    }
  }

  /** Told when it begins to fail and when that ends, and counted each time. */
  async function trying<Result>(step: Step, work: () => Promise<Result>): Promise<Result | undefined> {
    try {
      const result = await work()
      if (failing.delete(step)) log.info({ step }, 'the audit trail goes on')
      return result
    } catch (error) {
      auditFailures.inc({ zone, step })
      if (!failing.has(step))
        log.error({ step, error }, 'the audit trail is not kept as it must be; tried again')
      failing.set(step, error instanceof Error ? error.message : 'unknown')
      return undefined
    }
  }

  async function pass(): Promise<void> {
    const head = await trying('seal', sealAll)
    if (head === undefined) return
    const reach = await trying('checkpoint', () => makeCheckpoint(head))
    if (reach !== undefined) await trying('export', () => exportCheckpoints(reach))
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const startedMs = performance.now()
      await pass()
      // Where a pass is slow, it takes half of the time at most.
      const tookMs = performance.now() - startedMs
      await delay(Math.max(pauseMs, tookMs), undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  const running = run()
  const measuring = startMeasuring(async () =>
    unsealed.set({ zone }, await queries.unsealedSeconds(relayDatabase, zone)),
  )
  return {
    warnings: () => [...failing].map(([step, reason]) => `audit ${step}: ${reason}`),
    async stop() {
      stopping.abort()
      await running
      await measuring.stop()
      await pass()
      await queries.releaseLease(relayDatabase, zone, holder).catch(() => {})
    },
  }
}
