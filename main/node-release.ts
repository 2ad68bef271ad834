/**
 * Which Node a start accepts. A release line that gets no more security fixes must not hold card numbers, however
 * well everything still runs on it.
 */
import { own_node_minimum } from './machine.mjs'

/**
 * The last day of fixes of each line that this version runs on. Source: the release schedule of the Node.js project
 * (github.com/nodejs/Release). Lines that are newer than the table are taken as looked after.
 */
const lastDayOfFixes: Record<number, string> = { 24: '2028-04-30', 26: '2029-04-30' }
/** The first that runs TypeScript as it is without a flag or a warning. */
const [oldest_major = 0, oldest_minor = 0] = own_node_minimum
const warnedDaysBefore = 180

export type NodeRelease = { status: 'ok' | 'warning' | 'failed'; problem?: string }

/** @param version as in `process.versions.node`. @param today as in an ISO date. */
export function examineNode(version: string, today: string): NodeRelease {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < oldest_major || (major === oldest_major && minor < oldest_minor))
    return failed(`Node ${version} is older than ${oldest_major}.${oldest_minor}`)
  const newestKnown = Math.max(...Object.keys(lastDayOfFixes).map(Number))
  if (major > newestKnown) return { status: 'ok' }
  const lastDay = lastDayOfFixes[major]
  if (lastDay === undefined) return failed(`Node ${major} is no line with long-term support`)
  if (today > lastDay) return failed(`Node ${major} gets no more security fixes since ${lastDay}`)
  const days = (Date.parse(lastDay) - Date.parse(today)) / 86_400_000
  return days > warnedDaysBefore
    ? { status: 'ok' }
    : { status: 'warning', problem: `Node ${major} gets security fixes until ${lastDay} only` }
}

function failed(problem: string): NodeRelease {
  return { status: 'failed', problem }
}
