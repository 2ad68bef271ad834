/**
 * What every sandbox has after its first start: keys, a cluster, databases with all migrations. Making them takes
 * longer than most test files, so a run of several files makes them once and each file begins with a copy.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const variable = 'TEST_DATA_TEMPLATE'

/** Makes it, for this process and those that it starts; gone when this process ends. */
export async function makeDataTemplate(): Promise<void> {
  const { startTestPostgres } = await import('./postgres.ts')
  const folder = mkdtempSync(join(tmpdir(), 'coffer-test-template-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const ends: (() => unknown)[] = []
  await startTestPostgres({ after: (end) => ends.push(end) }, {}, { folder })
  for (const end of ends.toReversed()) await end()
  // Each copy finds a port of its own, and its log tells its own story.
  for (const name of ['postgres-port', 'postgres.log']) rmSync(join(folder, name))
  process.env[variable] = folder
}

/** Does nothing where there is no template, or no folder, or it has content already. */
export function copyDataTemplate(into: string): void {
  const template = process.env[variable]
  if (template === undefined || !existsSync(into) || readdirSync(into).length > 0) return
  // Node's own copy would give the cluster, which may belong to another user, to us.
  const { status, stderr } = spawnSync('cp', ['-a', `${template}/.`, into], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`the template of the data could not be copied: ${stderr}`)
}
