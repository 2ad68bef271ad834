import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { CardPolicies } from './card-policy.ts'
import { cardPolicy, cardPolicyChange } from './policy-schemas.ts'

export function publicRoutes(policies: CardPolicies): Routes {
  return async (server) => {
    server.get(
      '/v1/card_policy',
      {
        config: { access: { scope: 'admin' }, failures: [] },
        schema: { summary: 'What is done with your cards.', response: { 200: cardPolicy } },
      },
      (request) => policies.get(request.user.merchant_id),
    )

    server.patch(
      '/v1/card_policy',
      {
        config: { access: { scope: 'admin' }, failures: [] },
        schema: {
          summary: 'Change what is done with your cards. What is left out stays.',
          body: cardPolicyChange,
          response: { 200: cardPolicy },
        },
      },
      (request) => policies.change(callerOf(request), request.body),
    )
  }
}
