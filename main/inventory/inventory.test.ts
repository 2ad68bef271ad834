import assert from 'node:assert/strict'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { roleNames, roles } from '../roles.ts'
import { algorithms } from './algorithms.ts'
import { keys } from './keys.ts'

const root = resolve(import.meta.dirname, '..', '..')

function table(columns: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n')
}

const quoted = (names: string[]) => names.map((name) => `\`${name}\``).join(', ')

const keyTable = table(
  [
    'key',
    'settings',
    'algorithm',
    'purpose',
    'kept',
    'used by',
    'cryptoperiod',
    'rotation',
    'if lost',
    'if stolen',
  ],
  keys.map((key) => [
    key.name,
    quoted(key.settings),
    key.algorithm,
    key.purpose,
    key.kept,
    key.used_by,
    key.cryptoperiod,
    key.rotation,
    key.if_lost,
    key.if_stolen,
  ]),
)
const algorithmTable = table(
  ['what', 'algorithm', 'parameters', 'code'],
  algorithms.map(({ what, algorithm, parameters, files }) => [what, algorithm, parameters, quoted(files)]),
)

for (const [file, made] of [
  ['docs/keys.md', keyTable],
  ['docs/cryptography.md', algorithmTable],
] as const)
  test(`SEC-39: ${file} shows the inventory of the code`, () => {
    const path = join(root, file)
    const text = readFileSync(path, 'utf8')
    const [before, shown, after] = text.split(/<!-- inventory(?: ends)? -->\n/)
    assert.ok(before !== undefined && shown !== undefined && after !== undefined)
    const wanted = `${before}<!-- inventory -->\n${made}\n<!-- inventory ends -->\n${after}`
    if (process.env['UPDATE_INVENTORY'] === '1') writeFileSync(path, wanted)
    else assert.equal(text, wanted, 'make it again: UPDATE_INVENTORY=1 npm test -- main/inventory')
  })

test('SEC-39: every secret that a setting gives is in the inventory, and none that is not there', async () => {
  const tables = await Promise.all(roleNames.map(async (name) => (await roles[name]()).settings))
  const secrets = tables.flatMap((settings) =>
    Object.entries(settings).flatMap(([name, { secret }]) => (secret === true ? name : [])),
  )
  assert.deepEqual([...new Set(secrets)].sort(), keys.flatMap(({ settings }) => settings).sort())
})

const names =
  `createCipheriv createDecipheriv createHmac hkdfSync createHash createSign createVerify createPrivateKey
  generateKeyPairSync SignJWT jwtVerify CompactEncrypt timingSafeEqual`.split(/\s+/)
const packages = ["'openpgp'", "'shamir-secret-sharing'"]
const usesCryptography = new RegExp(`\\b(${names.join('|')})\\b|\\bhash\\(\\s*'sha|${packages.join('|')}`)

test('SEC-39: every file that uses cryptography is in the inventory, and each that is there does', () => {
  const files = globSync('{access,core,main,platform,vault}/**/*.ts', { cwd: root }).filter(
    (file) => !/node_modules|\.test\.ts$|\/test-[a-z-]+\.ts$/.test(file),
  )
  const found = files.filter((file) => usesCryptography.test(readFileSync(join(root, file), 'utf8')))
  // Hashes that protect nothing: of a page's own style, and the name of a lock.
  const harmless = ['main/contract/reference.ts', 'main/data-directory.ts']
  const named = [...new Set(algorithms.flatMap((entry) => entry.files))]
  assert.deepEqual(found.filter((file) => !harmless.includes(file)).sort(), named.sort())
})
