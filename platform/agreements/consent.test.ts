/** What payments say of consent, and how each PSP is told: any sequence of them, through any PSP. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadConnectors } from '@coffer/connectors/directory.ts'
import { authorizeInput, stepContext } from '@coffer/connectors/test-inputs.ts'
import { type CredentialUsage, credentialUsages } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import fc from 'fast-check'
import { agreedUsages, type ConsentAsked, consentOf } from './consent.ts'

const asked: fc.Arbitrary<ConsentAsked> = fc.record(
  {
    initiator: fc.constantFrom('customer', 'merchant'),
    usage: fc.constantFrom(...credentialUsages),
    agreement: fc.constant('agr_1'),
    consent: fc.constant({ customer: 'customer-17' }),
    without_agreement: fc.boolean(),
  },
  { requiredKeys: [] },
)

/** In other words than the code's: what the documentation's table has a row for. */
function expected({ initiator = 'customer', usage, agreement, consent, without_agreement }: ConsentAsked) {
  const isPractice = usage !== undefined && !(agreedUsages as readonly string[]).includes(usage)
  const begins = initiator === 'customer' && usage !== undefined && agreement === undefined
  if (consent !== undefined && !begins) return 'refused'
  if (initiator === 'customer')
    return without_agreement || isPractice ? 'refused' : begins ? 'begins' : agreement ? 'named' : 'plain'
  if (usage === 'card_on_file' || (agreement !== undefined && without_agreement)) return 'refused'
  return agreement !== undefined ? 'named' : without_agreement ? 'unproven' : 'required'
}

function became(fields: ConsentAsked) {
  try {
    const { begins, named, stored_credential } = consentOf(fields, new Date())
    if (begins !== null) return 'begins'
    return named !== null ? 'named' : stored_credential === null ? 'plain' : 'unproven'
  } catch (error) {
    assert.ok(error instanceof Failure)
    return error.code === 'agreement_required' ? 'required' : 'refused'
  }
}

test('whatever is asked for, it is one row of the table, or it is refused', () => {
  fc.assert(
    fc.property(asked, (fields) => assert.equal(became(fields), expected(fields))),
    { numRuns: 2_000 },
  )
})

const connectors = await loadConnectors()
const settings = {
  mit_exemption: 'true',
  merchant_account: 'Shop',
  processing_channel_id: 'pc_abcdefghijklmnopqrstuvwxyz',
}
const identifiers = {
  network_transaction_id: 'MCCOLXT1c0104 ',
  transaction_link_id: 'aBcDeFgHiJkLmNoPqRsT_-',
}

type Made = {
  initiator: 'customer' | 'merchant'
  usage: CredentialUsage
  sequence: 'first' | 'subsequent'
  psp: string
}

/** A first payment by the customer, then any number by either, each through a PSP of its own. */
const sequences: fc.Arbitrary<Made[]> = fc
  .tuple(
    fc.constantFrom(...agreedUsages),
    fc.array(
      fc.tuple(
        fc.constantFrom('customer' as const, 'merchant' as const),
        fc.constantFrom(...connectors.keys()),
      ),
      {
        minLength: 1,
        maxLength: 8,
      },
    ),
  )
  .map(([usage, payments]) =>
    payments.map(([initiator, psp], index) => ({
      initiator: index === 0 ? 'customer' : initiator,
      usage: index > 0 && initiator === 'merchant' && usage === 'card_on_file' ? 'unscheduled' : usage,
      sequence: index === 0 ? 'first' : 'subsequent',
      psp,
    })),
  )

test('in any sequence of payments, each PSP is told who charges and, in absence of the customer, of the first payment', () => {
  const property = fc.property(sequences, (payments) => {
    for (const { initiator, usage, sequence, psp } of payments) {
      const known =
        sequence === 'first' ? { network_transaction_id: null, transaction_link_id: null } : identifiers
      const input = authorizeInput({ initiator, stored_credential: { usage, sequence, ...known } })
      const context = {
        ...stepContext({ payment_method: 'pm_1' }),
        account: { connection_id: 'con_1', settings },
      }
      const step = connectors.get(psp)!.authorize.find(({ moves_money }) => moves_money)!
      const text = JSON.stringify(step.request(input, context))
      const what = `${psp} ${initiator} ${usage} ${sequence}: ${text}`
      const isAbsent = initiator === 'merchant'
      if (isAbsent || sequence === 'first')
        assert.equal(text.includes(identifiers.network_transaction_id), isAbsent, what)
      // How a PSP is told that nobody is there; Adyen takes a customer who pays with a kept card for the same.
      const absent = {
        stripe: /"off_session","true"/,
        checkout: /"merchant_initiated":true/,
        adyen: /"ContAuth"/,
      }
      const sign = absent[psp as keyof typeof absent] as RegExp | undefined
      const isTold = psp === 'adyen' ? sequence === 'subsequent' : isAbsent
      if (sign !== undefined) assert.equal(sign.test(text), isTold, what)
    }
  })
  fc.assert(property, { numRuns: 300 })
})
