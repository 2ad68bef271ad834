import { tmpdir } from 'node:os'
import path from 'node:path'

/** Without these a live role refuses to start. */
export const hardening_flags = [
  '--disable-proto=delete', // no prototype pollution by way of `__proto__`
  '--disable-sigusr1', // no debugger for whoever can send a signal
  '--no-addons', // no native code loaded into a process that holds card numbers
]

/** Node flags of the server. The development tools run without any. */
export const server_flags = [
  ...hardening_flags,
  '--max-semi-space-size=16', // MB: larger collects less often, but its pauses show in the slowest percent
  '--max-old-space-size=1024', // MB: below it the collector runs so often that a payment costs twice as much
  '--heap-growing-percent=120', // a full collection, for which everything waits, comes ten times less often
  '--no-parallel-scavenge', // on two processors its helpers take from PostgreSQL what they save here
]

/**
 * A process of one role reads files and uses the network: Node refuses it everything else, such as other processes,
 * workers, and any file to write but in the folders it is told of. No wall against code that is already running in
 * it (nodejs.org says so itself), but one more thing that an injected line cannot simply do.
 */
const role_flags = [
  '--permission',
  '--allow-fs-read=*',
  '--allow-net',
  '--disable-warning=ExperimentalWarning',
]
const roles = ['access', 'vault', 'platform']
/** Settings that name a folder to write in, with what they are where nothing is set. */
const written_folders = {
  COFFER_AUDIT_FOLDER: undefined,
  VAULT_TRANSFER_FOLDER: path.join(tmpdir(), 'coffer-transfer'),
}

/**
 * What Node is started with for the `coffer` command.
 * @param {string[]} args of the command @param {Record<string, string | undefined>} environment
 */
export function flagsFor(args, environment) {
  if (args[0] !== 'start' || !args.some((arg) => roles.includes(arg.replace(/^--role=/, ''))))
    return server_flags
  const folders = Object.entries(written_folders).flatMap(([name, usual]) => environment[name] ?? usual ?? [])
  return [
    ...server_flags,
    ...role_flags,
    ...folders.map((folder) => `--allow-fs-write=${path.resolve(folder)}`),
  ]
}
