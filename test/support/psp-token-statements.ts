/** What reads and writes the tokens of PSPs, for the test of plans. */
import type { Database } from '@coffer/core/postgres.ts'
import * as events from '../../platform/events/queries.ts'
import { writePayments } from '../../platform/payments/queries.ts'
import * as paymentReads from '../../platform/payments/read-queries.ts'
import { newPlan, paymentOf } from '../../platform/payments/test-attempts.ts'
import * as pspTokens from '../../platform/psp-tokens/queries.ts'
import type { Login } from './postgres.ts'

export const pspTokenStatements: [string, Login, (database: Database) => Promise<unknown>][] = [
  [
    'writePayments: the next attempt',
    'coffer_platform_service',
    (database) => {
      const entry = { settlement: null, plan: newPlan(), payment: paymentOf(newPlan()) } as never
      return writePayments(database, [{ kind: 'next_attempt', entry }])
    },
  ],
  [
    'writePayments: a settlement that keeps a token',
    'coffer_platform_service',
    (database) => {
      const settlement = { decline: null, failure: null, entries: [], psp_token: 'pm_1' }
      const entry = { settlement, payment: { agreement: null, amount: 1, card: 'card_' } } as never
      return writePayments(database, [{ kind: 'settlement', entry }])
    },
  ],
  ['findPlan', 'coffer_platform_service', (database) => paymentReads.findPlan(database, {} as never)],
  [
    'insertPspToken',
    'coffer_platform_service',
    (database) => {
      const entry = { psp_token: { id: 'ptk_', card: 'card_' }, answer: {} } as never
      return pspTokens.insertPspToken(database, entry)
    },
  ],
  [
    'listPspTokens',
    'coffer_platform_service',
    (database) => pspTokens.listPspTokens(database, 'mer_', 'card_', 'ptk_~', 10),
  ],
  [
    'deletePspToken',
    'coffer_platform_service',
    (database) => pspTokens.deletePspToken(database, {} as never, 'ptk_', new Date()),
  ],
  [
    'revealPspToken',
    'coffer_platform_service',
    (database) => pspTokens.revealPspToken(database, {} as never, 'ptk_', 'why'),
  ],
  [
    'appendEvents of a card that was deleted',
    'coffer_platform_relay',
    (database) => events.appendEvents(database, [{ type: 'card.deleted' }] as never, 1n, 'holder'),
  ],
]
