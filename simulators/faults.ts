/** The faults a simulator can be told to show, and the choice of one for a request. */

/** What each kind does. `before` and `after` are about the execution: whether the PSP did it. */
export const faultKinds = {
  decline: 'executed and refused by the issuer, with decline_code',
  rate_limit: '429, not executed',
  server_error_before: '500, not executed; the 500 is saved under the idempotency key',
  server_error_after: 'executed, then 500; the 500 is saved under the idempotency key',
  reset_before: 'the connection is reset, not executed',
  reset_after: 'executed and saved, then the connection is reset',
  hang_before: 'never executed, never answered',
  hang_after: 'executed and saved, never answered',
  slow: 'executed and saved, answered after delay_ms',
  late: 'executed and answered after delay_ms, even if the client has gone; its key is in use meanwhile',
} as const
type FaultKind = keyof typeof faultKinds

const aliases: Record<string, FaultKind> = { '429': 'rate_limit', '500': 'server_error_before' }

/** These act on an execution, so a replayed answer neither shows nor uses them up. */
const executionKinds = new Set<FaultKind>(['decline', 'server_error_before', 'server_error_after', 'late'])
const delayDefault_ms: Partial<Record<FaultKind, number>> = { slow: 1_000, late: 5_000 }

export type Fault = {
  kind: FaultKind
  /** How many requests it still hits; null: until changed. */
  remaining: number | null
  probability: number
  delay_ms: number
  decline_code: string
  match: { path: string | null; method: string | null; reference: string | null; card_last4: string | null }
}

/** What is known of a request when a fault is chosen for it. */
export type FaultTarget = {
  method: string
  path: string
  /** Whether it can move money: the faults' target when they name neither a path nor a method. */
  moves_money: boolean
  /** Whether a saved answer will be replayed, so that nothing is executed. */
  replayed: boolean
  can_decline: boolean
  reference: string | null
  card_last4: string | null
}

export type Faults = {
  list(): Fault[]
  replace(faults: Fault[]): void
  /** The first fault in the list that applies, its count already reduced. */
  choose(target: FaultTarget): Fault | null
}

/** What an issuer may be told to refuse with, and what it says where nothing is named. */
export type DeclineCodes = { known: ReadonlySet<string>; usual: string }

export class FaultInputError extends Error {}

const wrong = (message: string): never => {
  throw new FaultInputError(message)
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function onlyNames(value: Record<string, unknown>, names: readonly string[], where: string) {
  const unknown = Object.keys(value).find((name) => !names.includes(name))
  if (unknown !== undefined) wrong(`${where}: unknown property '${unknown}'; known are ${names.join(', ')}`)
}

function numberOf(
  value: unknown,
  fallback: number,
  where: string,
  allowed: (number: number) => boolean,
): number {
  if (value === undefined || value === null) return fallback
  return typeof value === 'number' && allowed(value)
    ? value
    : wrong(`${where}: ${JSON.stringify(value)} is not possible`)
}

function textOf(value: unknown, where: string): string | null {
  if (value === undefined || value === null) return null
  return typeof value === 'string' && value !== '' ? value : wrong(`${where}: a text is expected`)
}

const matchNames = ['path', 'method', 'reference', 'card_last4']
const faultNames = ['kind', 'times', 'remaining', 'probability', 'delay_ms', 'decline_code', 'match']

function parseMatch(value: unknown, where: string): Fault['match'] {
  const match = value === undefined || value === null ? {} : value
  if (!isRecord(match)) return wrong(`${where}: an object is expected`)
  onlyNames(match, matchNames, where)
  const path = textOf(match.path, `${where}.path`)
  if (path !== null && !path.startsWith('/'))
    wrong(`${where}.path: starts with '/'; '*' stands for any characters`)
  return {
    path,
    method: textOf(match.method, `${where}.method`)?.toUpperCase() ?? null,
    reference: textOf(match.reference, `${where}.reference`),
    card_last4: textOf(match.card_last4, `${where}.card_last4`),
  }
}

function parseFault(value: unknown, where: string, declineCodes: DeclineCodes): Fault {
  if (!isRecord(value))
    return wrong(`${where}: an object such as {"kind": "hang_after", "times": 1} is expected`)
  onlyNames(value, faultNames, where)
  const named = String(value.kind)
  const kind = aliases[named] ?? named
  if (!Object.hasOwn(faultKinds, kind)) {
    return wrong(`${where}: unknown kind '${named}'; known are ${Object.keys(faultKinds).join(', ')}`)
  }
  const known = kind as FaultKind
  const declineCode = textOf(value.decline_code, `${where}.decline_code`)
  if (declineCode !== null && known !== 'decline') wrong(`${where}.decline_code: only for the kind 'decline'`)
  if (declineCode !== null && !declineCodes.known.has(declineCode)) {
    wrong(
      `${where}.decline_code: '${declineCode}' is unknown; known are ${[...declineCodes.known].join(', ')}`,
    )
  }
  const count = (number: number) => Number.isInteger(number) && number >= 0
  const times = numberOf(value.remaining ?? value.times, -1, `${where}.times`, count)
  return {
    kind: known,
    remaining: times < 0 ? null : times,
    probability: numberOf(
      value.probability,
      1,
      `${where}.probability`,
      (number) => number >= 0 && number <= 1,
    ),
    delay_ms: numberOf(
      value.delay_ms,
      delayDefault_ms[known] ?? 0,
      `${where}.delay_ms`,
      (number) => number >= 0 && number <= 3_600_000,
    ),
    decline_code: declineCode ?? declineCodes.usual,
    match: parseMatch(value.match, `${where}.match`),
  }
}

/**
 * Reads what was put: `{faults: [...]}`, a list, or one fault.
 * @throws FaultInputError with a message for the person who wrote it.
 */
export function parseFaults(value: unknown, declineCodes: DeclineCodes): Fault[] {
  const listed = isRecord(value) && 'faults' in value ? value.faults : value
  const list = Array.isArray(listed) ? listed : [listed]
  if (list.length > 100) wrong('at most 100 faults')
  return list.map((fault, index) =>
    parseFault(fault, Array.isArray(listed) ? `faults[${index}]` : 'fault', declineCodes),
  )
}

function pathMatches(pattern: string, path: string): boolean {
  const parts = pattern.split('*')
  let from = 0
  for (const [index, part] of parts.entries()) {
    const at = index === parts.length - 1 && index > 0 ? path.lastIndexOf(part) : path.indexOf(part, from)
    if (at < from || (index === 0 && at !== 0)) return false
    from = at + part.length
  }
  return from === path.length || pattern.endsWith('*')
}

function applies({ kind, match, remaining }: Fault, target: FaultTarget): boolean {
  if (remaining === 0) return false
  if (kind === 'decline' && !target.can_decline) return false
  if (target.replayed && executionKinds.has(kind)) return false
  if (match.path === null && match.method === null && !target.moves_money) return false
  if (match.method !== null && match.method !== target.method) return false
  if (match.path !== null && !pathMatches(match.path, target.path)) return false
  if (match.reference !== null && match.reference !== target.reference) return false
  return match.card_last4 === null || match.card_last4 === target.card_last4
}

export function createFaults(random: () => number = Math.random): Faults {
  let faults: Fault[] = []
  return {
    list: () => faults,
    replace: (next) => void (faults = next),
    choose(target) {
      for (const fault of faults) {
        if (!applies(fault, target) || (fault.probability < 1 && random() >= fault.probability)) continue
        if (fault.remaining !== null) fault.remaining--
        return fault
      }
      return null
    },
  }
}
