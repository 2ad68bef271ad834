/** Which packages of others run in each zone, from the lockfile: for those who must know what they run. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

type Entry = {
  version: string
  license?: string
  integrity?: string
  link?: true
  resolved?: string
  hasInstallScript?: true
  optional?: true
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

export type Dependency = { name: string; version: string; license: string; direct: boolean }

const root = join(import.meta.dirname, '..', '..')
const packages: Record<string, Entry> = JSON.parse(
  readFileSync(join(root, 'package-lock.json'), 'utf8'),
).packages

/** Those that bring a binary for one kind of machine run a script when they are installed, which nothing waits for. */
export const withInstallScripts = Object.entries(packages)
  .filter(([, { hasInstallScript }]) => hasInstallScript)
  .map(([place]) => nameAt(place))

/** Everything a zone can load, its dependencies' dependencies included, by name. */
export function dependenciesOf(zone: string): Dependency[] {
  const found = new Map<string, Entry>()
  const follow = (from: string, entry: Entry) => {
    for (const name of Object.keys({ ...entry.dependencies, ...entry.optionalDependencies })) {
      const place = findFrom(from, name)
      if (place === undefined || found.has(place)) continue // left out on purpose: for another machine
      const next = packages[place]!
      if (next.link) follow(next.resolved!, packages[next.resolved!]!)
      else {
        found.set(place, next)
        follow(place, next)
      }
    }
  }
  follow(zone, packages[zone]!)
  const own = Object.keys(packages[zone]!.dependencies ?? {})
  return [...found]
    .map(([place, { version, license }]) => {
      const name = nameAt(place)
      return { name, version, license: license ?? 'unknown', direct: own.includes(name) }
    })
    .sort((one, other) => (one.name + one.version < other.name + other.version ? -1 : 1))
}

function nameAt(place: string): string {
  return place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

/** As Node looks for it: beside the package that asks, then in the folders around it. */
function findFrom(from: string, name: string): string | undefined {
  for (let folder = from; ; ) {
    const place = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`
    if (packages[place] !== undefined) return place
    if (folder === '') return undefined
    const parent = folder.lastIndexOf('/node_modules/')
    folder = parent === -1 ? '' : folder.slice(0, parent)
  }
}

export function dependencyPage(zones: readonly string[], vaultMax: number): string {
  const vault = dependenciesOf('vault')
  const others = zones
    .filter((zone) => zone !== 'vault')
    .flatMap((zone) => dependenciesOf(zone).map((each) => ({ ...each, direct: false, zone })))
  const beside = new Map<string, Dependency & { zones: string[] }>()
  for (const { zone, ...each } of others) {
    const key = `${each.name} ${each.version}`
    if (vault.some(({ name, version }) => `${name} ${version}` === key)) continue
    beside.set(key, { ...each, zones: [...(beside.get(key)?.zones ?? []), zone] })
  }
  return `# Dependencies

Made from the lockfile by a test, which fails when this page is not the same. Development tools and the simulators'
clients are not in it; the pinned Node and the embedded PostgreSQL are for the launcher and the sandbox. The same for
tools, as CycloneDX: \`npm sbom --sbom-format cyclonedx --omit dev --package-lock-only\`.

## The vault
${vault.length} packages, at most ${vaultMax}; those in bold are asked for by the vault itself.

${tableOf(
  ['package', 'version', 'licence'],
  vault.map(({ name, version, license, direct }) => [direct ? `**${name}**` : name, version, license]),
)}
## Beside the vault
What other zones load and the vault does not.

${tableOf(
  ['package', 'version', 'licence', 'zones'],
  [...beside.values()].map(({ name, version, license, zones: by }) => [
    name,
    version,
    license,
    by.join(', '),
  ]),
)}`
}

function tableOf(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |\n`
  return [head, head.map(() => '---'), ...rows].map(line).join('')
}
