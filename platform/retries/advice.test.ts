import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Decline, type DeclineAction, declineActions, declineReasons } from '@coffer/core/connector.ts'
import fc from 'fast-check'
import { adviseOn, endingOf } from './advice.ts'
import { actionByResponseCode, mastercardAdvice } from './rules.ts'
import { newDecline } from './test-declines.ts'

const now = new Date('2026-11-23T12:00:00Z')
const after = (hours: number) => new Date(now.getTime() + hours * 3_600_000).toISOString()
const advised = (brand: string | null, changes: Partial<Decline>) => adviseOn(newDecline(changes), brand, now)

test("each of Mastercard's advice codes means what its table says, by itself and with a security decline", () => {
  const expected: Record<string, [DeclineAction, ifSecurity: DeclineAction, hours: number | null]> = {
    '01': ['update_credentials', 'authenticate', null],
    '02': ['retry_later', 'retry_later', 72],
    '03': ['stop_card', 'stop_fraud', null],
    '04': ['fix_data', 'fix_data', null],
    '05': ['fix_data', 'fix_data', null],
    '21': ['stop_agreement', 'stop_agreement', null],
    '22': ['config_error', 'config_error', null],
    '24': ['retry_later', 'retry_later', 1],
    '25': ['retry_later', 'retry_later', 24],
    '26': ['retry_later', 'retry_later', 48],
    '27': ['retry_later', 'retry_later', 96],
    '28': ['retry_later', 'retry_later', 144],
    '29': ['retry_later', 'retry_later', 192],
    '30': ['retry_later', 'retry_later', 240],
    '40': ['update_credentials', 'update_credentials', null],
    '41': ['update_credentials', 'update_credentials', null],
    '42': ['stop_fraud', 'stop_fraud', null],
    '43': ['update_credentials', 'update_credentials', null],
  }
  assert.deepEqual(Object.keys(mastercardAdvice).toSorted(), Object.keys(expected).toSorted())
  for (const [network_advice_code, [action, ifSecurity, hours]] of Object.entries(expected)) {
    for (const [codes, means] of [
      [['79', '82', '51', '05'], action],
      [['83', '63', '55'], ifSecurity],
    ] as const)
      for (const network_decline_code of codes) {
        const decline = advised('mastercard', { network_decline_code, network_advice_code })
        assert.equal(decline.action, means, `${network_decline_code} ${network_advice_code}`)
        assert.equal(decline.source, 'network_advice')
        assert.equal(decline.retry_after, hours === null ? null : after(hours))
      }
  }
})

test("each of Visa's listed codes is in its category, and one of the first is never another try", () => {
  const expected: [category: number, codes: string][] = [
    [1, '04 07 12 14 15 41 43 46 57 R0 R1 R3'],
    [2, '03 19 51 59 61 62 65 75 78 86 91 93 96 N3 N4'],
    [3, '54 55 70 82 1A 6P N7'],
    [4, '05 13 63 Z9'],
  ]
  for (const [category, codes] of expected)
    for (const network_decline_code of codes.split(' ')) {
      const decline = advised('visa', { network_decline_code })
      assert.equal(decline.network_category, category, network_decline_code)
      if (category === 1) assert.ok(!decline.action.startsWith('retry'), network_decline_code)
      assert.equal(advised('amex', { network_decline_code }).network_category, null)
    }
  assert.equal(advised('visa', {}).network_category, null)
})

test('a category that Visa itself tells comes before our reading of the code', () => {
  const decline = advised('visa', { network_decline_code: '51', network_advice_code: '01' })
  assert.deepEqual([decline.network_category, decline.action], [1, 'stop_card'])
  assert.equal(advised('visa', { network_decline_code: '04', network_advice_code: '3' }).network_category, 3)
})

test('a bare response code counts where the PSP says nothing of its own, and a stop in it always', () => {
  for (const [code, action] of actionByResponseCode) {
    const generic = advised('amex', { network_decline_code: code })
    assert.equal(generic.action, action, code)
    const precise = advised('amex', { reason: 'issuer_unavailable', network_decline_code: code })
    assert.equal(precise.action, action.startsWith('stop') ? action : 'retry_later', code)
  }
  for (const code of ['00', 'constructor', '__proto__'])
    for (const brand of ['amex', 'mastercard', 'visa', 'unknown', null])
      assert.equal(
        advised(brand, { network_decline_code: code, network_advice_code: code }).action,
        'retry_later',
      )
})

test('nothing turns a stop into another try, and what was said is kept as it was said', () => {
  const texts = fc.constantFrom(null, '01', '02', '03', '05', '21', '24', '41', '43', '51', '79', '83', '??')
  fc.assert(
    fc.property(
      fc.constantFrom(...declineReasons),
      fc.constantFrom(...declineActions),
      texts,
      texts,
      fc.constantFrom('visa', 'mastercard', 'amex', 'unknown', null),
      (reason, action, network_decline_code, network_advice_code, brand) => {
        const said = newDecline({ reason, action, network_decline_code, network_advice_code })
        const decline = adviseOn(said, brand, now)
        if (action.startsWith('stop')) assert.match(decline.action, /^(stop_|update_credentials)/)
        assert.ok(!decline.action.startsWith('retry') || action.startsWith('retry') || brand === 'mastercard')
        if (decline.retry_after !== null) assert.match(decline.action, /^retry/)
        for (const name of ['reason', 'psp_code', 'psp_code_namespace'] as const)
          assert.equal(decline[name], said[name])
        assert.deepEqual(
          [decline.network_decline_code, decline.network_advice_code],
          [network_decline_code, network_advice_code],
        )
      },
    ),
  )
})

test('an outcome other than a decline stays as it is', () => {
  const unknown = { kind: 'unknown', cause: 'no_answer', psp_reference: null } as const
  assert.equal(endingOf(unknown, 'visa', now), unknown)
})
