/** The process that seals dies before and after it has sealed: the chain goes on, with every record in it once. */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { checkpointFileName } from '@coffer/core/audit-checkpoint-file.ts'
import { verifyTrail } from '../../main/audit/verify.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import { within } from '../support/within.ts'
import { auditPlaces, newMerchant, startCrashRig } from './crash-matrix.ts'

const rig = await startCrashRig({ after })
const { roles } = rig
const { environment } = roles.postgres
const merchant = await newMerchant(rig)
const boundMs = 60_000

const query = (text: string) => roles.postgres.query('postgres', text, [], 'vault')
const counted = async (text: string) => Number((await query(text))[0]!['n'])

async function untilSealed(): Promise<void> {
  await within(boundMs, 'records are not sealed', async () => {
    const records = await counted('select count(*) as n from audit_records')
    return records === (await counted('select sequence as n from audit_chains'))
  })
}

async function verify(): Promise<void> {
  const report = await verifyTrail(
    {
      zone: 'vault',
      database_url: roles.postgres.url('coffer_vault_auditor').expose(),
      public_keys: [createPublicKey(createPrivateKey(environment['VAULT_AUDIT_KEY']!))],
      checkpoint_file: join(environment['COFFER_AUDIT_FOLDER']!, checkpointFileName('vault')),
    },
    () => {},
  )
  assert.deepEqual(report.problems, [])
  const distinct =
    'select count(distinct id) as n from (select unnest(audit_ids) as id from audit_seals) sealed'
  assert.equal(report.records, await counted(distinct))
}

for (const place of auditPlaces)
  test(`SEC-18: the sealer dies at ${place}`, async () => {
    await roles.startMissing()
    await roles.stop('vault')
    const armed = await roles.start('vault', { COFFER_FAILPOINT: place })
    const working = Promise.all(Array.from({ length: 20 }, () => merchant.tokenize(goodNumbers.visa)))
    working.catch(() => {})
    const exit = await within(boundMs, () => `${place} was not reached:\n${armed.output()}`, armed.exited)
    assert.equal(exit.signal, 'SIGKILL', armed.output())
    await roles.start('vault')
    await working
    await untilSealed()
    await verify()
  })

test('SEC-18: when the sealer is killed another goes on, and two at once give no record two places', async (t) => {
  await roles.startMissing()
  await roles.start('second_vault')
  for (const killed of ['vault', 'second_vault'] as const) {
    const holder = async () => (await query('select holder from audit_chains'))[0]!['holder']
    await Promise.all(Array.from({ length: 20 }, () => merchant.tokenize(goodNumbers.visa)))
    await untilSealed()
    const before = await holder()
    await roles.kill(killed)
    const killedMs = performance.now()
    const id = `aud_${killed
      .padEnd(26, '0')
      .slice(0, 26)
      .replaceAll(/[^0-9a-z]/g, '0')}`
    await query(
      `insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
         result) values ('mer_1', '${id}', 'a', '', 'a.test', '', '', '', 'done')`,
    )
    await untilSealed()
    const tookMs = performance.now() - killedMs
    const isTaken = (await holder()) !== before
    t.diagnostic(
      `note: ${killed} killed, ${isTaken ? 'taken over' : 'it was not the sealer'}: ${Math.round(tookMs)} ms`,
    )
    await verify()
    await roles.start(killed)
  }
})
