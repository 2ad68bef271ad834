/**
 * What the guides tell a reader to type works as it stands there. A block that begins with ```sh can be run in the folder
 * of a sandbox, in one shell with those before it on its page and the variables of the README; ```bash cannot.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { startProduct, temporaryFolder } from './support/product.ts'

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '..')

const blocksOf = (page: string) =>
  [...readFileSync(join(root, page), 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1]!)

/** What each block of a page prints. */
const printed: Record<string, RegExp[]> = {
  'docs/access.md': [
    /"name":"Checkout".*"sk_test_/,
    /^active\n$/,
    /^person_required\napproval_not_granted\n$/,
    /^\[ 'approved', 'user:usr_' \]\n1\napproval_used\n$/,
    /"data":\[/,
  ],
  'docs/agreements.md': [
    /^$/,
    /^\[ 'active', 'MCC\w+', '[\w-]{22}' \]\n$/,
    /^\[ 'captured', 'subscription' \]\n$/,
    /^\[ 'ended', 'ended_by_merchant' \]\n$/,
  ],
  'docs/batches.md': [/^$/, /^completed\n[\s\S]*'card_not_found'[\s\S]*"row_id":"invoice-6"/],
  'docs/cards.md': [/^cver_\w+\n20\S+Z\n1\n$/, /'created'[\s\S]*2030\n$/],
  'docs/payments.md': [
    /^$/,
    /^\[ '(pay_\w+)', 'captured' \]\n\[ '\1', 'captured' \]\n1\n$/,
    /^\[ 'verified', 0 \]\n$/,
    /'succeeded', 1500 \]\n\[ 'refund', 'succeeded', 500 \]\n\[ 'captured', 1999, 1500, 500 \]\n$/,
  ],
  'docs/psp-tokens.md': [/^$/, /'active', 'imported', 'visa'[\s\S]*'captured', 'psp_token'/],
  'docs/psp-webhooks.md': [/^requires_action\ncaptured\n[\s\S]*'settled'/],
  'docs/retries.md': [
    /^stop_card\nretry_not_allowed visa\.\w+\n$/,
    /^decline\n\[\s*'processing',\s*'insufficient_funds',\s*'\{.*"next_at":"\d/,
  ],
  'docs/routing.md': [
    /\[ 1, null \]\n[\s\S]*'chosen'[\s\S]*1\n$/,
    /\nstripe rejected routed\nadyen approved failover\n$/,
  ],
  'docs/tokens.md': [/^3000\nDE89370400440532013000\n$/],
  'docs/transfer.md': [
    /^$/,
    /completed\n\{ created: 2, invalid: 1 \}\n[\s\S]*old-3,invalid.*card_number_invalid/,
  ],
  // The last one: it takes away what the others have done.
  'simulators/README.md': [
    /^$/,
    /"data":\[\{[\s\S]*"data":\[\]/,
    /"kind":"hang_after"[\s\S]*"faults":\[\]/,
    /"url":"http:\/\/127.0.0.1:4000\/hook"/,
    /"search_lag_ms":0[\s\S]*"offset_ms":90000000/,
  ],
}
/** Run with the README, whose card it goes on with. */
const elsewhere = ['docs/forward.md']

test('every page that has something to run is run', () => {
  const pages = globSync(['docs/*.md', 'simulators/*.md', 'connectors/*/*.md'], { cwd: root })
  const runnable = pages.filter((page) => blocksOf(page).length > 0)
  assert.deepEqual(runnable.toSorted(), [...Object.keys(printed), ...elsewhere].toSorted())
})

/** The reader's patience, however slow the machine is: until the payment, if there is one, is what it will be. */
const patience = `sleep() {
  if [ -z "\${PAYMENT:-}" ]; then command sleep "$1"; return; fi
  until curl -s $API/v1/payments/$PAYMENT -H "Authorization: Bearer $KEY" | pick it.status | grep -vqE 'unknown|requires_action'
  do command sleep 0.1; done
}`
const marker = '--- next block ---'

const hasCurl = await run('sh', ['-c', 'command -v curl']).then(
  () => true,
  () => false,
)
// The folder in which the reader has run `npm start`.
const folder = temporaryFolder({ after })
if (hasCurl)
  await startProduct(
    { after },
    {
      data_directory: join(folder, '.coffer'),
      environment: { COFFER_SIMULATOR_WEBHOOKS: 'on' },
    },
  )

for (const [page, expected] of Object.entries(printed))
  test(`the commands of ${page} do what it says`, { skip: !hasCurl && 'there is no curl' }, async () => {
    const blocks = blocksOf(page)
    const script = [patience, blocksOf('README.md')[0], ...blocks].join(`\necho '${marker}'\n`)
    const path = [dirname(process.execPath), process.env['PATH']].join(delimiter)
    const env = { ...process.env, PATH: path }
    const { stdout, stderr } = await run('sh', ['-e', '-c', script], { cwd: folder, env })
    assert.equal(stderr, '')
    const [, , ...outputs] = stdout.split(`${marker}\n`)
    assert.equal(outputs.length, expected.length, 'as many blocks as are expected')
    for (const [index, output] of outputs.entries()) assert.match(output, expected[index]!)
  })
