/** How custodians give their shares of the wrapping key, and see what is missing. */
import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { Type } from 'typebox'
import type { Unsealing } from './unsealing.ts'

const sealState = Type.Object({
  object: Type.Literal('seal'),
  sealed: Type.Boolean({ description: 'Whether this process can read and write nothing yet.' }),
  key_id: Type.String({ description: 'The key whose shares are gathered.' }),
  shares_given: Type.Integer({ description: 'Different shares of it that this process has been given.' }),
  shares_needed: Type.Union([Type.Integer(), Type.Null()], {
    description: 'How many make the key; null before the first one, which says so.',
  }),
})

const givenShare = Type.Object(
  {
    share: Type.String({
      minLength: 1,
      maxLength: 300,
      pattern: '^[A-Za-z -]+$',
      description: 'A share as the splitting printed it.',
    }),
  },
  { additionalProperties: false },
)

export function publicRoutes(unsealing: Unsealing): Routes {
  return async (server) => {
    server.get(
      '/v1/keys/unseal',
      {
        config: { access: { scope: 'operator' }, failures: ['keys_not_in_shares'] },
        schema: {
          summary: 'Whether the vault is sealed, and how many shares it has been given.',
          response: { 200: sealState },
        },
      },
      () => Promise.resolve(unsealing.state()),
    )

    server.post(
      '/v1/keys/unseal',
      {
        config: {
          access: { scope: 'operator' },
          failures: ['keys_not_in_shares', 'share_invalid', 'share_needs_another_person'],
        },
        schema: {
          summary: 'Give a share of the wrapping key, each by another person. May be repeated.',
          body: givenShare,
          response: { 200: sealState },
        },
      },
      (request) => unsealing.give(callerOf(request), request.body.share),
    )
  }
}
