/**
 * Every column that holds something sealed under a merchant's data key. A new one gets its line here, and its rights
 * for the relay in its migration: then rotation, census and the rest know it.
 */
import { accountOf, tokenDataOf } from '../tokens/tokens.ts'
import {
  cardNumberPlace,
  connectionSecretPlace,
  destinationSecretPlace,
  fileKeyPlace,
  importKeyPlace,
  type Place,
  tokenDataPlace,
  webhookSecretPlace,
} from './sealed-text.ts'

export type SealedRow = { merchant_id: string; data_key_id: string } & Record<string, string>

export type EncryptedTable = {
  table: string
  /** Its primary key behind the merchant: rows are walked in its order. */
  key: readonly string[]
  /** Those of one row are all under the data key that the row names. */
  columns: readonly { column: string; place: (row: SealedRow) => Place }[]
  /** Which object of the audit trail a row is: `<object>.reencrypt`. */
  object: string
  /** True where what is encrypted may be replaced. The service turns those, and the relay those that never change. */
  changes: boolean
  /** Of the first column's text, what has a fingerprint; without it none has. */
  numberOf?: (text: string) => string | null
}

export const encryptedTables: readonly EncryptedTable[] = [
  {
    table: 'card_versions',
    key: ['card_id', 'card_version_id'],
    columns: [{ column: 'number_encrypted', place: (row) => cardNumberPlace(row as never) }],
    object: 'card_version',
    changes: false,
    numberOf: (text) => text,
  },
  {
    table: 'tokens',
    key: ['token_id'],
    columns: [{ column: 'data_encrypted', place: (row) => tokenDataPlace(row as never) }],
    object: 'token',
    changes: false,
    numberOf: (text) => accountOf(tokenDataOf(text)),
  },
  {
    table: 'connections',
    key: ['connection_id'],
    columns: [{ column: 'secret_encrypted', place: (row) => connectionSecretPlace(row as never) }],
    object: 'connection',
    changes: true,
  },
  {
    table: 'webhook_secrets',
    key: ['connection_id'],
    columns: [{ column: 'secret_encrypted', place: (row) => webhookSecretPlace(row as never) }],
    object: 'webhook_secret',
    changes: true,
  },
  {
    table: 'destinations',
    key: ['destination_id'],
    columns: [
      { column: 'client_key_encrypted', place: (row) => destinationSecretPlace(row as never, 'client_key') },
      {
        column: 'finishing_secret_encrypted',
        place: (row) => destinationSecretPlace(row as never, 'finishing_secret'),
      },
    ],
    object: 'destination',
    changes: true,
  },
  {
    table: 'imports',
    key: ['import_id'],
    columns: [
      { column: 'file_key_encrypted', place: (row) => fileKeyPlace(row.merchant_id, row['import_id']!) },
    ],
    object: 'import',
    changes: true,
  },
  {
    table: 'import_keys',
    key: ['algorithm'],
    columns: [
      { column: 'private_key_encrypted', place: (row) => importKeyPlace(row.merchant_id, row['algorithm']!) },
    ],
    object: 'import_key',
    changes: false,
  },
  {
    table: 'exports',
    key: ['export_id'],
    columns: [
      { column: 'file_key_encrypted', place: (row) => fileKeyPlace(row.merchant_id, row['export_id']!) },
    ],
    object: 'export',
    changes: false,
  },
]
