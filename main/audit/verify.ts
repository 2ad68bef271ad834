/** `coffer audit verify`: everything that can be proven of the audit trails, and of cards and tokens by the vault's. */

import { createLog } from '@coffer/core/log.ts'
import { type Database, openDatabase } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import type { Trail } from './trails.ts'
import { verifyCards } from './verify-cards.ts'
import { type Problem, verifyChain } from './verify-chain.ts'
import { verifyImports } from './verify-imports.ts'
import { verifyTokens } from './verify-tokens.ts'

export type ZoneReport = {
  zone: string
  records: number
  checkpoints: number
  /** Null in zones that have none. */
  cards: number | null
  /** Of which the trail does not say what was written. */
  cards_without_hash: number | null
  tokens: number | null
  problems: Problem[]
}

/** Nothing is logged: what goes wrong ends the command. */
export const openTrail = (trail: Trail): Database =>
  openDatabase({
    url: new Secret(trail.database_url),
    name: `${trail.zone} auditor`,
    connections_max: 1,
    log: silent,
  })
const silent = createLog({ level: 'error', destination: { write: () => {} } })

/** @param progress is told how far it has got, often. */
export async function verifyTrail(trail: Trail, progress: (text: string) => void): Promise<ZoneReport> {
  const database = openTrail(trail)
  try {
    const chain = await verifyChain(database, trail, progress)
    const cards = trail.zone === 'vault' ? await verifyCards(database, progress) : undefined
    const imports = trail.zone === 'vault' ? await verifyImports(database, progress) : undefined
    const tokens = trail.zone === 'vault' ? await verifyTokens(database, progress) : undefined
    return {
      zone: trail.zone,
      records: chain.records,
      checkpoints: chain.checkpoints,
      cards: cards?.cards ?? null,
      // Counted by two walks, between which cards may come and go.
      cards_without_hash:
        cards === undefined ? null : Math.max(0, cards.without_hash - (imports?.cards_covered ?? 0)),
      tokens: tokens?.tokens ?? null,
      problems: [chain, cards, imports, tokens].flatMap((found) => found?.problems ?? []),
    }
  } finally {
    await database.close()
  }
}

/** For people: a line a zone, and what is wrong below it, the first problem first. */
export function printedReport({
  zone,
  records,
  checkpoints,
  cards,
  cards_without_hash,
  tokens,
  problems,
}: ZoneReport): string {
  const without =
    cards_without_hash === 0 ? '' : `, ${cards_without_hash} of them without a hash in the trail`
  const counted = `${records} records, ${checkpoints} checkpoints${cards === null ? '' : `, ${cards} cards${without}, ${tokens} tokens`}`
  if (problems.length === 0) return `ok      ${zone}: ${counted}\n`
  const lines = problems.map(({ kind, sequence, id, merchant, detail }) => {
    const place = [
      sequence === null ? '' : ` at ${sequence}`,
      id === null ? '' : ` ${id}`,
      merchant === null ? '' : ` of ${merchant}`,
    ]
    return `        ${kind}${place.join('')}: ${detail}\n`
  })
  return `FAILED  ${zone}: ${counted}\n${lines.join('')}`
}

/** On standard error: onto one line where somebody looks, else a line now and then. */
export function showProgress(stream: NodeJS.WriteStream): { show(text: string): void; end(): void } {
  const everyMs = stream.isTTY ? 250 : 10_000
  let shownMs = performance.now()
  return {
    show(text) {
      const now = performance.now()
      if (now - shownMs < everyMs) return
      shownMs = now
      stream.write(stream.isTTY ? `\r\x1b[K${text}` : `${text}\n`)
    },
    end() {
      if (stream.isTTY) stream.write('\r\x1b[K')
    },
  }
}
