/**
 * Makes a zone's chain again from its records and holds it against what is stored, and against the checkpoints that
 * were exported: those nobody can change who has only the database.
 */
import { type Checkpoint, firstHash, nextHash, recordText } from '@coffer/core/audit-chain.ts'
import { unsealedSeconds } from '@coffer/core/audit-seal-queries.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type ExportedCheckpoint, exportedCheckpoints } from './checkpoints.ts'
import * as queries from './queries.ts'
import type { Trail } from './trails.ts'

export type Problem = {
  kind:
    | 'record_changed'
    | 'record_missing'
    | 'record_without_place'
    | 'places_missing'
    | 'cut_off'
    | 'checkpoint_differs'
    | 'checkpoint_not_signed'
    | 'checkpoints_missing'
    | 'records_not_sealed'
    | 'card_differs'
    | 'token_differs'
    | 'import_differs'
  /** In the chain, where the problem is of a place. */
  sequence: number | null
  /** The audit record, the card, the token or the import. */
  id: string | null
  merchant: string | null
  detail: string
}

export type Verified = { records: number; checkpoints: number; problems: Problem[] }

/** More than that are not told: one is enough to look into it. */
export const problemsMax = 100
/** A checkpoint is exported right after it was made. */
const exportPatienceMs = 60_000
const sealPatienceSeconds = 60

/** Where a walk along the chain is. */
type Place = { sequence: bigint; hash: Buffer }

/** @param progress is told how far it has got. */
export async function verifyChain(
  database: Database,
  trail: Trail,
  progress: (text: string) => void,
): Promise<Verified> {
  const { zone } = trail
  const problems: Problem[] = []
  const tell: Tell = (kind, detail, place = {}) => {
    if (problems.length < problemsMax)
      problems.push({ kind, sequence: null, id: null, merchant: null, ...place, detail })
  }
  const end = await queries.readChainEnd(database)
  const exported = followCheckpoints(trail, tell)
  let place: Place = { sequence: 0n, hash: firstHash(zone) }
  for await (const batch of queries.sealedRecords(database, zone, 0n, end.sequence)) {
    for (const sealed of batch) {
      checkPlace(zone, place, sealed, tell)
      // On from what is stored, so that each record is judged by itself.
      place = sealed
      await exported.compare(place)
    }
    progress(`${zone}: ${place.sequence} of ${end.sequence} records`)
  }
  if (place.sequence < end.sequence)
    tell('places_missing', `The places ${place.sequence + 1n} to ${end.sequence} are not there.`, {
      sequence: Number(place.sequence + 1n),
    })
  else if (!place.hash.equals(end.hash))
    tell('record_changed', 'The end of the chain is not the hash of its last record.', {
      sequence: Number(place.sequence),
    })
  await checkEnd(database, await exported.beyond(), tell)
  await checkUnsealed(database, zone, tell, progress)
  checkExport(trail, end, exported, tell)
  return { records: Number(place.sequence), checkpoints: exported.checked(), problems }
}

function checkPlace(zone: string, before: Place, sealed: queries.Sealed, tell: Tell): void {
  const { sequence, record } = sealed
  if (sequence !== before.sequence + 1n)
    tell('places_missing', `The places ${before.sequence + 1n} to ${sequence - 1n} are not there.`, {
      sequence: Number(before.sequence + 1n),
    })
  const at = { sequence: Number(sequence), id: sealed.audit_id, merchant: sealed.merchant_id }
  if (record === undefined) tell('record_missing', 'The record was removed.', at)
  else if (!nextHash(before.hash, recordText(zone, record)).equals(sealed.hash))
    tell('record_changed', 'The record, its place or its hash is not what was sealed.', at)
}

/** The exported checkpoints beside the walk: each is compared when the walk comes to its place. */
function followCheckpoints(trail: Trail, tell: Tell) {
  const lines = exportedCheckpoints(trail)
  let ahead: ExportedCheckpoint | undefined
  let isAhead = false
  let checked = 0
  let lastGood = 0n

  /** The next one that is signed. */
  async function peek(): Promise<(ExportedCheckpoint & { checkpoint: Checkpoint }) | undefined> {
    for (;;) {
      if (!isAhead) {
        const { value, done } = await lines.next()
        ahead = done === true ? undefined : value
        isAhead = true
      }
      if (ahead === undefined) return undefined
      const { line, checkpoint } = ahead
      if (checkpoint !== undefined) return { ...ahead, checkpoint }
      tell('checkpoint_not_signed', `Line ${line} of the exported checkpoints is signed by none of the keys.`)
      isAhead = false
    }
  }

  let next: Awaited<ReturnType<typeof peek>> | null = null
  return {
    checked: () => checked,
    lastGood: () => lastGood,
    async compare({ sequence, hash }: Place): Promise<void> {
      for (;;) {
        next ??= await peek()
        if (next === undefined || next.checkpoint.sequence > sequence) return
        const { checkpoint, line } = next
        next = null
        isAhead = false
        checked++
        const isHere = BigInt(checkpoint.sequence) === sequence
        if (isHere && checkpoint.hash === hash.toString('hex')) lastGood = sequence
        else
          tell(
            'checkpoint_differs',
            isHere
              ? `Records ${lastGood + 1n} to ${sequence} are not those of the checkpoint of ${checkpoint.at}.`
              : `Line ${line} of the exported checkpoints goes back to record ${checkpoint.sequence}.`,
            { sequence: checkpoint.sequence },
          )
      }
    },
    /** Reads to the end: the furthest that the walk did not come to. */
    async beyond(): Promise<Checkpoint | undefined> {
      let furthest: Checkpoint | undefined
      for (next ??= await peek(); next !== undefined; next = await peek()) {
        if (furthest === undefined || next.checkpoint.sequence > furthest.sequence) furthest = next.checkpoint
        isAhead = false
      }
      return furthest
    },
  }
}

type Tell = (kind: Problem['kind'], detail: string, place?: Partial<Problem>) => void

/** The chain goes on while it is looked at, and a checkpoint may be of what came since: so it is read again. */
async function checkEnd(database: Database, beyond: Checkpoint | undefined, tell: Tell): Promise<void> {
  const { sequence } = await queries.readChainEnd(database)
  if (beyond === undefined || BigInt(beyond.sequence) <= sequence) return
  tell('cut_off', `The checkpoint of ${beyond.at} has ${beyond.sequence} records, the chain ${sequence}.`, {
    sequence: Number(sequence + 1n),
  })
}

/** The numbers first: to find which one it is takes far longer. */
async function checkUnsealed(
  database: Database,
  zone: string,
  tell: Tell,
  progress: (text: string) => void,
): Promise<void> {
  const waitedSeconds = await unsealedSeconds(database, zone)
  if (waitedSeconds > sealPatienceSeconds)
    tell('records_not_sealed', `Records wait for their places for ${Math.round(waitedSeconds)} s.`)
  progress(`${zone}: counting`)
  const { records, places } = await queries.countRecords(database)
  if (records === places) return
  progress(`${zone}: ${records} records and ${places} places: looking for records without one`)
  for (const { merchant_id, audit_id } of await queries.findStrays(database, problemsMax))
    tell('record_without_place', 'The record was put in past the sealer.', {
      id: audit_id,
      merchant: merchant_id,
    })
}

/** Without the exported file a chain that was made anew as a whole cannot be told from the true one. */
function checkExport(
  trail: Trail,
  end: queries.ChainEnd,
  exported: ReturnType<typeof followCheckpoints>,
  tell: Tell,
): void {
  if (end.newest_checkpoint === null) return
  const newest = JSON.parse(end.newest_checkpoint) as Checkpoint
  if (end.looked_at.getTime() - Date.parse(newest.at) < exportPatienceMs) return
  const from = trail.checkpoint_file === undefined ? '' : ` in ${trail.checkpoint_file}`
  if (exported.checked() === 0) tell('checkpoints_missing', `There are no exported checkpoints${from}.`)
  else if (exported.lastGood() < newest.sequence)
    tell('checkpoints_missing', `The checkpoint of ${newest.at} was not exported, or is not the chain's.`, {
      sequence: newest.sequence,
    })
}
