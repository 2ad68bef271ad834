import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { listPsps, loadConnectors } from './directory.ts'

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'coffer-connectors-'))
})
after(() => rm(root, { recursive: true, force: true }))

/** A connectors directory with one folder in it. */
async function directoryWith(folder: string, index: string | null): Promise<string> {
  const directory = await mkdtemp(join(root, 'directory-'))
  await mkdir(join(directory, folder))
  if (index !== null) await writeFile(join(directory, folder, 'index.ts'), index)
  return directory
}

const step = (name: string) => `{ name: '${name}', moves_money: true, resendable_without_cvc: true }`
const index = (psp: string, ...steps: string[]) => {
  const authorize = steps.map(step).join(', ')
  return `export const connector = { psp: '${psp}', authorize: [${authorize}], reference_fields: [] }`
}

test('every folder is a connector, found without a registry', async () => {
  const connectors = await loadConnectors()
  assert.deepEqual([...connectors.keys()], await listPsps())
  assert.equal(connectors.get('stripe')?.psp, 'stripe')
})

test('a folder that appears is loaded, and files beside it are not taken for one', async () => {
  const directory = await directoryWith('acme', index('acme', 'pay'))
  await writeFile(join(directory, 'notes.md'), '')
  await mkdir(join(directory, 'node_modules'))
  assert.deepEqual([...(await loadConnectors(directory)).keys()], ['acme'])
})

test('a connector that is not what the contract asks for stops the start and is named', async () => {
  const cases: [folder: string, index: string | null, message: RegExp][] = [
    ['acme', null, /connector acme: there is no index\.ts/],
    ['acme', 'export {}', /connector acme: index\.ts exports no connector/],
    ['acme', index('other', 'pay'), /connector acme: its psp is "other"/],
    ['acme', index('acme'), /connector acme: authorize has no step/],
    ['acme', index('acme', 'pay', 'pay'), /connector acme: two steps/],
    ['acme', index('acme', 'Pay:now'), /connector acme: a step has an odd name/],
    ['Acme', index('Acme', 'pay'), /connector Acme: the folder/],
  ]
  for (const [folder, text, message] of cases) {
    await assert.rejects(loadConnectors(await directoryWith(folder, text)), message)
  }
})
