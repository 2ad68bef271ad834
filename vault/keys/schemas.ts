import { idPattern } from '@coffer/core/ids.ts'
import { writtenReason } from '@coffer/core/metadata.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'

const rotationKind = Type.Union(
  [Type.Literal('data'), Type.Literal('fingerprint'), Type.Literal('wrapping')],
  {
    description:
      '`data`: the key that encrypts the data of your merchant. `fingerprint`: the key of the hashes by which numbers ' +
      'are found, and `wrapping`: the key above all others; both belong to the deployment and need the scope operator.',
  },
)

export const newKeyRotation = Type.Object({ kind: rotationKind }, { additionalProperties: false })

const count = (description: string) => Type.Integer({ minimum: 0, description })
const timeOrNull = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

export const keyRotation = Type.Object({
  id: Type.String({ pattern: idPattern('keyRotation') }),
  object: Type.Literal('key_rotation'),
  kind: rotationKind,
  state: Type.Union([Type.Literal('running'), Type.Literal('finished'), Type.Literal('incomplete')], {
    description:
      '`incomplete`: at its end, and rows are left that do not open. They are in the log of the vault.',
  }),
  stage: Type.String({ description: 'What it is at, or was at its end.' }),
  rows_total: count('Rows that were to do when it began.'),
  rows_done: count('Rows that have the new key.'),
  rows_per_second: count('On average, since it was asked for.'),
  errors: count('Rows that do not open, and stay as they are.'),
  started_at: Type.String({ description: 'When it was asked for.' }),
  finished_at: timeOrNull('When it came to its end.'),
})
export type KeyRotation = Static<typeof keyRotation>

export const keyRotationList = Type.Object({
  data: Type.Array(keyRotation),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})

export const keyRotationId = Type.Object({ id: Type.String({ maxLength: 100 }) })

export const keyRotationListQuery = Type.Object(
  { cursor: cursorParameter, limit: limitParameter },
  { additionalProperties: false },
)

const dataKey = Type.Object({
  id: Type.String(),
  wrapping_key: Type.String({ description: 'Which key it stands under.' }),
  uses_reserved: count('Encryptions that were handed out, of at most 2³¹.'),
  rows: count('Rows that it has encrypted and that are there.'),
  created_at: Type.String(),
  superseded_at: timeOrNull('From here on it encrypts nothing new.'),
  retired_at: timeOrNull('Nothing was left that it has encrypted.'),
  destroyed_at: timeOrNull('From here on nothing opens what it has encrypted.'),
})

const fingerprintKey = Type.Object({
  version: Type.Integer({ minimum: 1 }),
  rows: count('Hashes that were made with it and are there.'),
  created_at: Type.String(),
  superseded_at: timeOrNull('From here on numbers are found by the hashes of a later version.'),
  retired_at: timeOrNull('It is not loaded any more.'),
})

const wrappingKey = Type.Object({
  id: Type.String(),
  is_current: Type.Boolean({ description: 'New keys are wrapped with it.' }),
  rows: count('Keys that it wraps.'),
})

export const keyCensus = Type.Object({
  object: Type.Literal('key_census'),
  data_keys: Type.Array(dataKey, { description: "Your merchant's, oldest first." }),
  fingerprint_keys: Type.Union([Type.Array(fingerprintKey), Type.Null()], {
    description: 'Of the deployment, oldest first; null without the scope operator.',
  }),
  wrapping_keys: Type.Union([Type.Array(wrappingKey), Type.Null()], {
    description: 'Of the deployment; null without the scope operator.',
  }),
})
export type KeyCensus = Static<typeof keyCensus>

export const newKeyDestruction = Type.Object(
  {
    reason: writtenReason,
    approval: Type.Optional(
      Type.String({
        pattern: idPattern('approval'),
        description: 'Of a second person, for the action `key.destroy` on the id of your merchant.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type NewKeyDestruction = Static<typeof newKeyDestruction>

export const keyDestruction = Type.Object({
  id: Type.String({ pattern: idPattern('keyDestruction') }),
  object: Type.Literal('key_destruction'),
  state: Type.Union([Type.Literal('revoking'), Type.Literal('destroyed')], {
    description: '`revoking` until no process uses the keys any more, which takes seconds.',
  }),
  reason: Type.String(),
  approval: Type.String(),
  requested_by: Type.String(),
  approved_by: Type.String(),
  requested_at: Type.String(),
  destroyed_at: timeOrNull('From here on nothing opens what the keys have encrypted.'),
  keys_destroyed: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
  backups_expire_at: timeOrNull(
    'By then no backup holds the keys any more, as the deployment keeps its backups.',
  ),
})
export type KeyDestruction = Static<typeof keyDestruction>

export const keyDestructionList = Type.Object({
  data: Type.Array(keyDestruction, { maxItems: 1, description: 'One, or none: there is no second time.' }),
  next_cursor: Type.Null(),
})
