// The vault dies while cards get other numbers and go back to them: before and after the commit.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Card, CardVersion, RevealedCard } from '@coffer/vault/cards/schemas.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import type { Call } from '../support/retrying-merchant.ts'
import { within } from '../support/within.ts'
import { cardChangePlaces, newMerchant, startCrashRig } from './crash-matrix.ts'

const rig = await startCrashRig({ after })
const { roles } = rig

type Page = { data: CardVersion[] }

for (const place of cardChangePlaces)
  test(`F-01: the vault killed at ${place}: each change makes one version, in a chain without a gap`, async () => {
    await roles.startMissing()
    const merchant = await newMerchant(rig)
    const cards = await Promise.all(Array.from({ length: 3 }, () => merchant.tokenize(goodNumbers.visa)))
    await roles.stop('vault')
    const armed = await roles.start('vault', { COFFER_FAILPOINT: `${place}@2` })
    const callOf = (card: Card, index: number): Call => ({
      path: `/v1/cards/${card.id}/${index % 3 === 2 ? 'restore' : 'replace'}`,
      key: randomUUID(),
      body:
        index % 3 === 2
          ? { version: card.version }
          : {
              number: [goodNumbers.amex, goodNumbers.mastercard][index % 3],
              exp_month: 1,
              exp_year: 2040 + index,
            },
      tries: 0,
      told: undefined,
    })
    const calls = cards.flatMap((card) => Array.from({ length: 6 }, (_, index) => callOf(card, index)))
    const [first, ...others] = calls
    const working = merchant
      .insist(first!)
      .then(() => Promise.all(others.map((call) => merchant.insist(call))))
    working.catch(() => {}) // looked at below, where the crash has been seen
    const exit = await within(60_000, () => `${place} was not reached:\n${armed.output()}`, armed.exited)
    assert.equal(exit.signal, 'SIGKILL', armed.output())
    await roles.start('vault')
    await working

    for (const { path, body, key, told } of calls) {
      assert.equal(told!.status, 200, told!.text)
      assert.deepEqual(await merchant.ask('POST', path, body, key), told)
    }
    for (const card of cards) {
      const chain = (await merchant.read<Page>(`/v1/cards/${card.id}/versions`)).data.toReversed()
      const answers = calls
        .filter(({ path }) => path.includes(card.id))
        .map(({ told }) => JSON.parse(told!.text) as Card)
      // Each answer names the version it made; each was made once.
      const made = new Set(answers.map(({ version }) => version))
      assert.deepEqual(new Set(chain.map(({ id }) => id)), new Set([card.version, ...made]))
      const revealed = await merchant.read<RevealedCard>(`/v1/cards/${card.id}/reveal`, { reason: 'a test' })
      assert.equal(revealed.version, chain.at(-1)!.id)
      assert.equal(revealed.number.slice(-4), chain.at(-1)!.last4)
    }
  })
