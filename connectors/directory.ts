/** Finds the connectors: a PSP is a folder here, and adding one edits nothing else. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Connector } from '@coffer/core/connector.ts'

/** The PSPs that have a folder, sorted. */
export async function listPsps(directory: string = import.meta.dirname): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  return entries
    .filter((entry) => entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort()
}

/**
 * Imports every connector, by PSP name.
 *
 * @throws Error that names the folder where a connector is missing or not what the contract asks for: better
 * the start fails than the first payment.
 */
export async function loadConnectors(
  directory: string = import.meta.dirname,
): Promise<Map<string, Connector>> {
  const connectors = new Map<string, Connector>()
  for (const psp of await listPsps(directory)) {
    const file = join(directory, psp, 'index.ts')
    if (!existsSync(file)) throw new Error(`connector ${psp}: there is no index.ts`)
    const module: { connector?: Connector } = await import(pathToFileURL(file).href)
    if (module.connector === undefined) throw new Error(`connector ${psp}: index.ts exports no connector`)
    checkConnector(psp, module.connector)
    connectors.set(psp, module.connector)
  }
  return connectors
}

function checkConnector(folder: string, connector: Connector): void {
  const fail = (what: string) => new Error(`connector ${folder}: ${what}`)
  if (!/^[a-z][a-z0-9_]*$/.test(folder)) throw fail('the folder is not lower-case letters, digits and _')
  if (connector.psp !== folder)
    throw fail(`its psp is ${JSON.stringify(connector.psp)}, not its folder's name`)
  const names = connector.authorize.map((step) => step.name)
  if (names.length === 0) throw fail('authorize has no step')
  if (new Set(names).size !== names.length) throw fail('two steps of authorize have one name')
  if (names.some((name) => !/^[a-z][a-z0-9_]*$/.test(name))) throw fail('a step has an odd name')
  const key_hours = connector.idempotency_key_lifetime_hours
  if (key_hours !== undefined && !(key_hours > 0)) throw fail('its idempotency key lifetime is not positive')
}
