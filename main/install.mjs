// Installs the locked dependencies, once, for the launcher. Runs on any Node from 20 on by itself.

import { spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isMusl, ownNodeDoes, processStat } from './machine.mjs'

/** A failure to be told in one sentence, without a stack. */
export class LaunchError extends Error {}

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const stamp_file = path.join(root, 'node_modules', '.coffer-installed')
const install_lock = path.join(root, '.install-lock')

/**
 * Makes `node_modules` what the lockfile wants, unless it is already.
 * @param {boolean} is_server the server needs no development dependencies
 */
export async function ensureInstalled(is_server) {
  if (isInstalled(is_server)) return
  const release = await takeInstallLock()
  try {
    if (isInstalled(is_server)) return
    process.stderr.write('Installing dependencies (once) …\n')
    await install(release.note)
    writeStamp()
  } finally {
    release.done()
  }
}

/** @param {boolean} is_server */
function isInstalled(is_server) {
  const locked = fs.readFileSync(path.join(root, 'package-lock.json'))
  if (readIfThere(stamp_file) === stampOf(locked)) return true
  const installed = readIfThere(path.join(root, 'node_modules', '.package-lock.json'))
  if (installed === undefined) return false
  if (!satisfies(JSON.parse(installed).packages, JSON.parse(locked.toString()).packages, is_server))
    return false
  // Somebody ran npm: good, next time it is known at once. Not for a part of it, nor where we cannot write.
  if (!is_server) writeStamp()
  return true
}

/** @param {Buffer} locked */
function stampOf(locked) {
  const hash = createHash('sha256').update(locked).digest('hex')
  return `${hash} ${process.platform} ${process.arch}\n`
}

function writeStamp() {
  try {
    fs.writeFileSync(stamp_file, stampOf(fs.readFileSync(path.join(root, 'package-lock.json'))))
  } catch {
    // A read-only installation: it is compared in full every time, which costs a few milliseconds.
  }
}

/** @param {string} file */
function readIfThere(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Whether what npm noted as installed is what the lockfile wants on this machine.
 * @typedef {{ version?: string, dev?: boolean, optional?: boolean, link?: boolean,
 *   os?: string | string[], cpu?: string | string[], libc?: string | string[] }} LockedPackage
 * @param {Record<string, LockedPackage>} installed
 * @param {Record<string, LockedPackage>} locked
 * @param {boolean} is_server
 */
function satisfies(installed, locked, is_server) {
  for (const [place, wanted] of Object.entries(locked)) {
    if (!place.includes('node_modules/')) continue
    const there = installed[place]
    if (there === undefined && mayBeMissing(wanted, is_server)) continue
    if (there === undefined || there.version !== wanted.version) return false
    if (!fs.existsSync(path.join(root, place, 'package.json'))) return false
  }
  return true
}

/**
 * What no machine must have, or not this one. An optional package made for this machine is wanted (Node,
 * PostgreSQL, the tools' programs); one for any machine is only there for the sake of another optional one.
 * @param {LockedPackage} wanted @param {boolean} is_server
 */
function mayBeMissing(wanted, is_server) {
  if (is_server && wanted.dev) return true
  if (!wanted.optional) return false
  if (wanted.os === undefined && wanted.cpu === undefined) return true
  return !isForThisMachine(wanted) || (is_server && ownNodeDoes())
}

/** @param {LockedPackage} wanted */
function isForThisMachine(wanted) {
  const libc = process.platform !== 'linux' ? undefined : isMusl() ? 'musl' : 'glibc'
  return allows(wanted.os, process.platform) && allows(wanted.cpu, process.arch) && allows(wanted.libc, libc)
}

/** @param {string | string[] | undefined} list @param {string | undefined} value */
function allows(list, value) {
  if (list === undefined) return true
  const entries = [list].flat()
  if (entries.includes(`!${value}`)) return false
  return entries.includes(value ?? '') || entries.every((entry) => entry.startsWith('!'))
}

/** @param {(pid: number) => void} notePid */
async function install(notePid) {
  // Install scripts never run: what they would do here (PostgreSQL's links) we do ourselves.
  const args = ['ci', '--ignore-scripts', '--include=dev', '--include=optional']
  args.push('--no-audit', '--no-fund', '--no-progress', '--prefer-offline', '--loglevel=error')
  const { program, first } = npmCommand()
  const child = spawn(program, [...first, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  if (child.pid !== undefined) notePid(child.pid)
  child.stdout.resume() // 'added 120 packages': nothing to know
  const failure = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : (signal ?? `exit code ${code}`)))
  })
  if (failure !== undefined) {
    throw new LaunchError(`Installing the dependencies failed (npm ci: ${failure}). Its messages are above.`)
  }
}

/** The npm that runs us, else the one beside this Node, else the one on the PATH. */
function npmCommand() {
  const running = process.env['npm_execpath'] ?? ''
  const beside = path.resolve(path.dirname(process.execPath), '../lib/node_modules/npm/bin/npm-cli.js')
  for (const script of [running, beside]) {
    if (path.basename(script) === 'npm-cli.js' && fs.existsSync(script))
      return { program: process.execPath, first: [script] }
  }
  return { program: 'npm', first: [] }
}

/**
 * One installation at a time in a checkout. The lock is a file that names the processes at work; one whose
 * processes are all gone is stale. It appears with its content (a link), so it is never seen half written.
 */
async function takeInstallLock() {
  const us = identityOf(process.pid)
  const content = (/** @type {string[]} */ owners) => owners.join('\n') + '\n'
  let told = false
  for (;;) {
    const unfinished = `${install_lock}.${randomBytes(6).toString('hex')}`
    fs.writeFileSync(unfinished, content([us]))
    try {
      fs.linkSync(unfinished, install_lock)
      break
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error
    } finally {
      fs.rmSync(unfinished, { force: true })
    }
    if (removeIfStale()) continue
    if (!told) process.stderr.write('Waiting for another installation in this folder …\n')
    told = true
    await delay(200)
  }
  return {
    /** Adds npm to the owners: killed alone, we would leave it at work. */
    note: (/** @type {number} */ pid) => replaceFile(install_lock, content([us, identityOf(pid)])),
    done: () => fs.rmSync(install_lock, { force: true }),
  }
}

function removeIfStale() {
  const seen = readIfThere(install_lock)
  if (seen === undefined) return true
  const owners = seen.split('\n').filter((line) => line !== '')
  if (owners.some((owner) => identityOf(Number.parseInt(owner, 10)) === owner)) return false
  // Taken away under a name of our own first: if another was quicker and this is its lock, it is put back.
  const taken = `${install_lock}.${randomBytes(6).toString('hex')}`
  try {
    fs.renameSync(install_lock, taken)
    if (readIfThere(taken) !== seen) fs.linkSync(taken, install_lock)
  } catch {
    return true
  } finally {
    fs.rmSync(taken, { force: true })
  }
  return true
}

/** Process id and start time: a process id alone is given again. @param {number} pid */
function identityOf(pid) {
  if (process.platform === 'linux') {
    const stat = processStat(pid)
    return `${pid} ${stat === undefined || stat[0] === 'Z' ? 'gone' : stat[19]}`
  }
  const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
  return `${pid} ${(stdout ?? '').trim() || 'gone'}`
}

/** @param {string} file @param {string} content */
function replaceFile(file, content) {
  const unfinished = `${file}.${randomBytes(6).toString('hex')}`
  fs.writeFileSync(unfinished, content)
  fs.renameSync(unfinished, file)
}
