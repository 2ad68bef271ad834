/**
 * What a process that holds card numbers must not be: on an old Node, open to a debugger, steered by options from its
 * environment, or dumped into a file when it dies. The launcher sees to all of it; whoever starts a role in another
 * way is told what is missing.
 */
import { readFileSync } from 'node:fs'
import inspector from 'node:inspector'
import { examineNode } from './node-release.ts'
import { hardening_flags } from './server-flags.mjs'

export type ProcessFacts = {
  node_version: string
  today: string
  flags: readonly string[]
  node_options: string | undefined
  debugger_url: string | undefined
  /** As /proc gives them; undefined where there is no /proc. */
  limits: string | undefined
}

/** Of this process. */
export function processFacts(): ProcessFacts {
  return {
    node_version: process.versions.node,
    today: new Date().toISOString().slice(0, 10),
    flags: process.execArgv,
    node_options: process.env['NODE_OPTIONS'],
    debugger_url: inspector.url(),
    limits: process.platform === 'linux' ? readFileSync('/proc/self/limits', 'utf8') : undefined,
  }
}

/** A sentence for each; empty where all is well. @param mode a sandbox holds no real cards: only its Node counts. */
export function processProblems(mode: 'sandbox' | 'live', facts: ProcessFacts): string[] {
  const node = examineNode(facts.node_version, facts.today)
  const problems = node.status === 'failed' ? [node.problem!] : []
  if (mode === 'sandbox') return problems
  const missing = hardening_flags.filter((flag) => !facts.flags.includes(flag))
  if (missing.length > 0) problems.push(`Node was started without ${missing.join(' ')}`)
  if (facts.node_options !== undefined) problems.push('NODE_OPTIONS is set')
  if (facts.debugger_url !== undefined) problems.push('a debugger can be attached')
  if (facts.limits !== undefined && !/^Max core file size\s+0\s+0\s/m.test(facts.limits))
    problems.push('its memory can be dumped to a core file')
  return problems
}

/** @throws where this process must not hold card numbers, naming every reason. */
export function refuseUnsafeProcess(mode: 'sandbox' | 'live'): void {
  const problems = processProblems(mode, processFacts())
  if (problems.length > 0)
    throw new Error(
      `This process is not fit for card numbers: ${problems.join('; ')}. Start it by \`npm run coffer\`, ` +
        'which takes care of all of it.',
    )
}
