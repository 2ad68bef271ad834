/** What README and the guide to forwards tell a reader to type works as it stands there, and gives what they say. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { startProduct, temporaryFolder } from './support/product.ts'

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const forwardGuide = readFileSync(join(root, 'docs', 'forward.md'), 'utf8')

const blocksOf = (language: string, text = readme) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map((match) => match[1]!)

test('the blocks of the README work as they stand, one after another, in one shell', async (t) => {
  const tools = await run('sh', ['-c', 'command -v curl']).catch(() => undefined)
  if (tools === undefined) return t.skip('there is no curl on this machine')
  // The folder in which the reader has run `npm start`.
  const folder = temporaryFolder(t)
  await startProduct(t, {
    data_directory: join(folder, '.coffer'),
    environment: { PSP_DEADLINE_MS: '2000', ANSWER_DEADLINE_MS: '4000' },
  })
  // The reader's patience, however slow the machine is: until the payment is no longer unknown.
  const patience = `sleep() {
    until curl -s $API/v1/payments/$PAYMENT -H "Authorization: Bearer $KEY" | pick it.status | grep -vq unknown
    do command sleep 0.1; done
  }`
  const marker = '--- next block ---'
  const script = [patience, ...blocksOf('sh'), ...blocksOf('sh', forwardGuide)].join(`\necho '${marker}'\n`)
  const path = [dirname(process.execPath), process.env['PATH']].join(delimiter)
  const { stdout, stderr } = await run('sh', ['-e', '-c', script], {
    cwd: folder,
    env: { ...process.env, PATH: path },
  })
  assert.equal(stderr, '')
  const printed = stdout.split(`${marker}\n`).slice(1)
  const [variables, card, captured, declined, unknown, settled, events, ...forwards] = printed as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    ...string[],
  ]
  assert.equal(variables, '')
  assert.match(card, /^card_[0-9a-z]{36}\n$/)
  assert.match(captured, /status: 'captured'/)
  assert.match(captured, /amount_captured: 1999/)
  assert.match(declined, /status: 'declined'[\s\S]*reason: 'insufficient_funds'/)
  assert.equal(unknown, 'hang_after\nunknown\n')
  assert.match(settled, /^captured\n/)
  assert.equal(settled.match(/status: 'succeeded'/g)?.length, 1)
  const lines = events.trim().split('\n')
  assert.deepEqual(
    lines.map((line) => Number(line.split(' ')[0])),
    lines.map((_line, index) => index + 1),
  )
  for (const type of ['card.created', 'payment.captured', 'payment.declined', 'payment.unknown'])
    assert.ok(events.includes(` ${type} `), type)
  assert.deepEqual(forwards, [
    '/v1/\n',
    "[ true, 'card.number card.exp_month card.exp_year' ]\n",
    "[ 'succeeded', 200, '4242' ]\n",
    "[ 'succeeded', 200, null ]\n",
  ])
})

test('the commands on its first screen are there', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const commands = blocksOf('console').join('').trim().split('\n')
  assert.deepEqual(commands, ['npm start', 'npm test'])
  for (const command of commands) assert.ok(scripts[command.slice(4)], command)
  for (const [command, script] of readme.matchAll(/`npm run ([a-z:]+)/g)) assert.ok(scripts[script!], command)
})

test('every link in the documentation leads to a file that is there', () => {
  const entries = readdirSync(join(root, 'connectors'), { withFileTypes: true })
  const connectors = entries.filter((it) => it.isDirectory()).map(({ name }) => join('connectors', name))
  const folders = ['.', 'docs', 'docs/decisions', 'simulators', ...connectors]
  const documents = folders.flatMap((name) =>
    existsSync(join(root, name))
      ? readdirSync(join(root, name)).flatMap((file) => (file.endsWith('.md') ? [join(name, file)] : []))
      : [],
  )
  const broken = documents.flatMap((document) => {
    const text = readFileSync(join(root, document), 'utf8')
    return [...text.matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)[^)]*\)/g)]
      .filter(([, target]) => !existsSync(join(root, dirname(document), target!)))
      .map(([, target]) => `${document}: ${target}`)
  })
  assert.deepEqual(broken, [])
})
