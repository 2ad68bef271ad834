import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { AlreadyRunningError, openDataDirectory } from './data-directory.ts'

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'coffer data-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('a new data directory can be entered by its owner only, whatever the umask', async (t) => {
  const wanted = path.join(temporaryFolder(t), 'nested', 'data')
  const directory = await openDataDirectory(wanted)
  t.after(directory.close)
  assert.equal(fs.statSync(directory.path).mode & 0o777, 0o700)
})

test('an empty folder that others can enter is closed to them', async (t) => {
  const folder = temporaryFolder(t)
  fs.chmodSync(folder, 0o755)
  const directory = await openDataDirectory(folder)
  t.after(directory.close)
  assert.equal(fs.statSync(folder).mode & 0o777, 0o700)
})

test('a folder that holds something else is refused and left as it was', async (t) => {
  const folder = temporaryFolder(t)
  fs.chmodSync(folder, 0o755)
  fs.writeFileSync(path.join(folder, 'thesis.txt'), '')
  await assert.rejects(openDataDirectory(folder), /holds other files \(thesis\.txt\)/)
  assert.equal(fs.statSync(folder).mode & 0o777, 0o755)
  assert.deepEqual(fs.readdirSync(folder), ['thesis.txt'])
})

test('a second instance is refused, by any path to the folder, until the first lets go', async (t) => {
  const folder = temporaryFolder(t)
  const first = await openDataDirectory(path.join(folder, 'data'))
  const link = path.join(folder, 'link')
  fs.symlinkSync(first.path, link)
  await assert.rejects(openDataDirectory(link), (error) => {
    assert.ok(error instanceof AlreadyRunningError)
    assert.match(error.message, new RegExp(`already running on .*process ${process.pid}`))
    return true
  })
  await first.close()
  const second = await openDataDirectory(link)
  await second.close()
})

test('an instance killed by SIGKILL leaves no lock behind', async (t) => {
  const folder = temporaryFolder(t)
  const module_url = new URL('./data-directory.ts', import.meta.url).href
  const script = `
    const { openDataDirectory } = await import(${JSON.stringify(module_url)})
    await openDataDirectory(${JSON.stringify(folder)})
    console.log('open')
    setInterval(() => {}, 60_000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  await assert.rejects(openDataDirectory(folder), new RegExp(`process ${child.pid}`))
  child.kill('SIGKILL')
  await once(child, 'exit')
  const directory = await openDataDirectory(folder)
  await directory.close()
})

test('a secret is created once, readable by its owner only, and kept', async (t) => {
  const directory = await openDataDirectory(temporaryFolder(t))
  t.after(directory.close)
  const secret = directory.secretFile('key', 32)
  assert.equal(secret.length, 32)
  assert.equal(fs.statSync(directory.file('key')).mode & 0o777, 0o600)
  assert.deepEqual(directory.secretFile('key', 32), secret)
  assert.notDeepEqual(directory.secretFile('other', 32), secret)
  assert.deepEqual(fs.readdirSync(directory.path).sort(), ['coffer-data-directory', 'key', 'other'])
})

test('a secret others can read, a shortened one and a link are refused, never replaced', async (t) => {
  const directory = await openDataDirectory(temporaryFolder(t))
  t.after(directory.close)
  const file = directory.file('key')
  fs.writeFileSync(file, Buffer.alloc(32), { mode: 0o640 })
  fs.chmodSync(file, 0o640)
  assert.throws(() => directory.secretFile('key', 32), /Other users can read/)
  fs.chmodSync(file, 0o600)
  fs.truncateSync(file, 16)
  assert.throws(() => directory.secretFile('key', 32), /should hold 32 bytes and holds 16/)
  assert.equal(fs.statSync(file).size, 16)
  fs.symlinkSync(file, directory.file('link'))
  assert.throws(() => directory.secretFile('link', 16), /ELOOP/)
})

test('a private file is replaced as a whole and stays private', async (t) => {
  const directory = await openDataDirectory(temporaryFolder(t))
  t.after(directory.close)
  assert.equal(directory.readPrivateFile('sandbox.json'), undefined)
  directory.writePrivateFile('sandbox.json', 'first')
  directory.writePrivateFile('sandbox.json', 'second')
  assert.equal(directory.readPrivateFile('sandbox.json')?.toString(), 'second')
  assert.equal(fs.statSync(directory.file('sandbox.json')).mode & 0o777, 0o600)
})
