import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openDataDirectory } from '../main/data-directory.ts'
import { readSandboxSecrets } from '../main/sandbox-secrets.ts'

async function dataDirectory(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-keys-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const directory = await openDataDirectory(folder)
  t.after(() => directory.close())
  return directory
}

test('the keys of a sandbox are made once and stay the same', async (t) => {
  const directory = await dataDirectory(t)
  assert.deepEqual(readSandboxSecrets(directory), readSandboxSecrets(directory))
})

test('a sandbox whose key file is gone or cut does not make a new key over its cards', async (t) => {
  for (const name of ['vault-wrapping.key', 'vault-fingerprint.key', 'platform-body.key']) {
    const directory = await dataDirectory(t)
    readSandboxSecrets(directory)
    mkdirSync(directory.file('postgres'))
    writeFileSync(directory.file(name), 'cut')
    assert.throws(() => readSandboxSecrets(directory), new RegExp(`${name} should hold 32 bytes`))
    rmSync(directory.file(name))
    assert.throws(() => readSandboxSecrets(directory), new RegExp(`${name} is missing`))
  }
})

test('a key file that others can read is not used', async (t) => {
  const directory = await dataDirectory(t)
  writeFileSync(directory.file('vault-wrapping.key'), Buffer.alloc(32), { mode: 0o644 })
  assert.throws(() => readSandboxSecrets(directory), /Other users can read/)
})
