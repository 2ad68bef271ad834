// What the launcher must know of the machine. Runs on any Node from 20 on, with nothing installed.

import fs from 'node:fs'

/** The oldest Node of the machine that does where there is no pinned one: it runs TypeScript by itself. */
export const own_node_minimum = [24, 12]

export function ownNodeDoes() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const [major_minimum = 0, minor_minimum = 0] = own_node_minimum
  return major > major_minimum || (major === major_minimum && minor >= minor_minimum)
}

/** musl's loader without glibc's. */
export function isMusl() {
  if (process.platform !== 'linux') return false
  const loaders = {
    x64: ['/lib/ld-musl-x86_64.so.1', '/lib64/ld-linux-x86-64.so.2'],
    arm64: ['/lib/ld-musl-aarch64.so.1', '/lib/ld-linux-aarch64.so.1'],
  }
  const [musl = '', glibc = ''] = loaders[/** @type {'x64' | 'arm64'} */ (process.arch)] ?? []
  return fs.existsSync(musl) && !fs.existsSync(glibc)
}

/** The fields of /proc/<pid>/stat after the name: state, parent, … @param {number} pid */
export function processStat(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
