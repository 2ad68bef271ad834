// The vault dies while tokens are kept: before and after their commit, with several on their way.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { RevealedToken, Token } from '@coffer/vault/tokens/schemas.ts'
import { listEvents } from '../support/checkers.ts'
import type { Call } from '../support/retrying-merchant.ts'
import { within } from '../support/within.ts'
import { newMerchant, startCrashRig, tokenPlaces } from './crash-matrix.ts'

const rig = await startCrashRig({ after })
const { roles, checked } = rig

/** Texts, and accounts of which some are the same. */
const bodyOf = (index: number) =>
  index % 2 === 0
    ? { type: 'text', data: { value: `a text ${index}` } }
    : {
        type: 'bank_account',
        data: { iban: ['DE89370400440532013000', 'NL91ABNA0417164300'][(index % 4) >> 1] },
      }

for (const place of tokenPlaces)
  test(`F-01: the vault killed at ${place}: each token is kept once, whole, and told once`, async () => {
    await roles.startMissing()
    const merchant = await newMerchant(rig)
    await roles.stop('vault')
    const armed = await roles.start('vault', { COFFER_FAILPOINT: `${place}@2` })
    const calls = Array.from(
      { length: 24 },
      (_, index): Call => ({
        path: '/v1/tokens',
        key: randomUUID(),
        body: bodyOf(index),
        tries: 0,
        told: undefined,
      }),
    )
    const [first, ...others] = calls
    const working = merchant
      .insist(first!)
      .then(() => Promise.all(others.map((call) => merchant.insist(call))))
    working.catch(() => {}) // looked at below, where the crash has been seen
    const exit = await within(60_000, () => `${place} was not reached:\n${armed.output()}`, armed.exited)
    assert.equal(exit.signal, 'SIGKILL', armed.output())
    await roles.start('vault')
    await working

    const tokens = calls.map(({ told }) => {
      assert.equal(told!.status, 201, told!.text)
      return JSON.parse(told!.text) as Token
    })
    assert.equal(new Set(tokens.map(({ id }) => id)).size, calls.length)
    assert.equal(new Set(tokens.flatMap(({ fingerprint }) => fingerprint ?? [])).size, 2)
    for (const [index, call] of calls.entries()) {
      const { id } = tokens[index]!
      const again = await merchant.ask('POST', call.path, call.body, call.key)
      assert.deepEqual(again, { status: 201, text: call.told!.text })
      assert.deepEqual(await merchant.read(`/v1/tokens/${id}`), tokens[index])
      const revealed = await merchant.read<RevealedToken>(`/v1/tokens/${id}/reveal`, { reason: 'a test' })
      assert.deepEqual(revealed.data, call.body['data'])
    }
    const counted = async (table: string) => {
      const text = `select count(*)::int as rows from ${table}`
      const [row] = await checked.query('vault', text, [merchant.merchant_id])
      return row!['rows']
    }
    assert.equal(await counted('tokens where merchant_id = $1'), calls.length)
    assert.equal(
      await counted(`audit_records where merchant_id = $1 and action = 'token.create'`),
      calls.length,
    )
    await within(30_000, 'the tokens are not all told of', async () => {
      const events = await listEvents(merchant)
      return events.length >= calls.length
    })
    const told = (await listEvents(merchant)).map(({ object_id }) => object_id)
    assert.deepEqual(told.sort(), tokens.map(({ id }) => id).sort())
  })
