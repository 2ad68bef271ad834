/** The wire shape of imports, of their reports and of where a card comes from. */

import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'
import { brokenFileCodes } from './file-rows.ts'
import { mappingNames } from './mappings/mapping.ts'

const choice = <const Choices extends readonly string[]>(choices: Choices, description: string) =>
  Type.Unsafe<Choices[number]>(Type.Enum([...choices], { description }))

export const importStates = [
  'awaiting_file',
  'checking',
  'ready',
  'importing',
  'completed',
  'failed',
  'canceled',
] as const
export type ImportState = (typeof importStates)[number]

export const newImport = Type.Object(
  {
    sha256: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'Of the file as it is uploaded.' }),
    mapping: Type.Optional(
      choice(['auto', ...mappingNames], 'What the columns mean; `auto` tells by their names.'),
    ),
    source: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9][a-z0-9_.-]{0,49}$',
        description: 'Whose ids the rows carry; the name of the mapping if left out.',
      }),
    ),
    duplicates: Type.Optional(
      choice(
        ['customer', 'number', 'none'],
        'Which row is a card that is here already: same number and customer, same number, or same source id only.',
      ),
    ),
    dry_run: Type.Optional(Type.Boolean({ description: 'Verdicts for every row, and nothing is kept.' })),
    keep_expired: Type.Optional(Type.Boolean({ description: 'Takes cards whose time is over, too.' })),
    rows: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 100_000_000,
        description: 'How many there must be, without the header.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type NewImport = Static<typeof newImport>

export const importSchema = Type.Object({
  id: Type.String({ pattern: idPattern('import') }),
  object: Type.Literal('import'),
  state: choice([...importStates], 'Where it stands.'),
  source: orNull(Type.String()),
  mapping: Type.String(),
  duplicates: choice(['customer', 'number', 'none'], 'Which row is a card that is here already.'),
  dry_run: Type.Boolean(),
  keep_expired: Type.Boolean(),
  sha256: Type.String(),
  bytes_received: Type.Integer({ description: 'Of the upload: go on from here.' }),
  bytes_total: orNull(
    Type.Integer({ description: 'Of the file without its encryption, once it was checked.' }),
  ),
  bytes_done: Type.Integer(),
  rows_total: orNull(Type.Integer()),
  rows_done: Type.Integer(),
  created: Type.Integer({ description: 'Rows that became a card; of a dry run, that would.' }),
  duplicate: Type.Integer({ description: 'Rows of a card that was there.' }),
  invalid: Type.Integer({ description: 'Rows that are no card that can be kept.' }),
  rows_per_second: orNull(Type.Number()),
  ignored_columns: Type.Array(Type.String()),
  failure: orNull(
    Type.Object({
      code: choice([...brokenFileCodes], 'What is wrong with the file.'),
      message: Type.String(),
      row: orNull(Type.Integer()),
    }),
  ),
  created_at: Type.String(),
  started_at: orNull(Type.String()),
  ended_at: orNull(Type.String()),
})
export type Import = Static<typeof importSchema>

export const importList = Type.Object({ data: Type.Array(importSchema), next_cursor: orNull(Type.String()) })

export const importId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })

export const importListQuery = Type.Object(
  { limit: limitParameter, cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })) },
  { additionalProperties: false },
)

export const reportQuery = Type.Object(
  {
    format: Type.Optional(choice(['csv', 'jsonl'], '`csv` if left out.')),
    verdict: Type.Optional(choice(['created', 'duplicate', 'invalid'], 'Only these rows.')),
    after: Type.Optional(Type.String({ pattern: '^[0-9]{1,9}$', description: 'Only rows after this one.' })),
  },
  { additionalProperties: false },
)
export type ReportQuery = Static<typeof reportQuery>

const keyAlgorithms = ['curve25519', 'rsa4096'] as const
export type ImportKeyAlgorithm = (typeof keyAlgorithms)[number]

export const importKeyQuery = Type.Object(
  { algorithm: Type.Optional(choice(keyAlgorithms, '`curve25519` if left out; some PSPs want RSA.')) },
  { additionalProperties: false },
)

export const importKey = Type.Object({
  object: Type.Literal('import_key'),
  algorithm: choice(keyAlgorithms, 'What kind of key it is.'),
  fingerprint: Type.String({ description: 'Of the OpenPGP key, in upper-case hexadecimal digits.' }),
  public_key: Type.String({ description: 'Armoured.' }),
})
export type ImportKey = Static<typeof importKey>

export const cardSourceList = Type.Object({
  data: Type.Array(
    Type.Object({
      object: Type.Literal('card_source'),
      card: Type.String({ pattern: idPattern('card') }),
      source: Type.String(),
      source_id: Type.String(),
      network_transaction_id: orNull(Type.String()),
      psp_reference: orNull(Type.String()),
      import: Type.String({ pattern: idPattern('import') }),
      created_at: Type.String(),
    }),
  ),
  next_cursor: orNull(Type.String()),
})
export type CardSourceList = Static<typeof cardSourceList>

export const cardSourceQuery = Type.Object(
  {
    card: Type.Optional(Type.String({ pattern: idPattern('card') })),
    source: Type.Optional(Type.String({ minLength: 1, maxLength: 50, pattern: storableText })),
    source_id: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: storableText })),
  },
  { additionalProperties: false },
)
