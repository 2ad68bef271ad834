/**
 * The OpenPGP key (RFC 9580) that files for a merchant can be encrypted to before they are sent: made when it is first
 * asked for, its private part sealed with the merchant's data key. There may be one of each algorithm: elliptic curves as
 * GnuPG has had them since 2.1, and RSA of 4096 bits, which some PSPs insist on.
 */
import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { PrivateKey } from 'openpgp'
import type { Keyring } from '../keys/keyring.ts'
import { importKeyPlace, seal, unseal } from '../keys/sealed-text.ts'
import { BrokenFile } from './file-rows.ts'
import type { ImportKey, ImportKeyAlgorithm } from './import-schemas.ts'

export type ImportKeys = ReturnType<typeof createImportKeys>

type KeyRow = {
  merchant_id: string
  algorithm: ImportKeyAlgorithm
  fingerprint: string
  public_key: string
  data_key_id: string
  private_key_encrypted: Buffer
}

export function createImportKeys(deps: { database: Database; keyring: Keyring }) {
  const making = new Map<string, Promise<KeyRow>>()

  async function make(caller: Caller, algorithm: ImportKeyAlgorithm): Promise<KeyRow> {
    const { generateKey, readKey } = await import('openpgp')
    const { merchant_id } = caller
    const pair = await generateKey({
      ...(algorithm === 'rsa4096' ? { type: 'rsa', rsaBits: 4096 } : { type: 'ecc', curve: 'ed25519Legacy' }),
      userIDs: [{ name: `Coffer import, ${merchant_id}` }],
      format: 'armored',
    })
    const fingerprint = (await readKey({ armoredKey: pair.publicKey })).getFingerprint().toUpperCase()
    const dataKey = await deps.keyring.forEncryption(merchant_id)
    const sealed = seal(dataKey, importKeyPlace(merchant_id, algorithm), pair.privateKey)
    const row = { merchant_id, algorithm, fingerprint, public_key: pair.publicKey }
    const key = { data_key_id: dataKey.data_key_id, private_key_encrypted: sealed }
    return insertKey(deps.database, caller, { ...row, ...key })
  }

  async function open(row: KeyRow): Promise<PrivateKey> {
    const { readPrivateKey } = await import('openpgp')
    const dataKey = await deps.keyring.forDecryption(row.merchant_id, row.data_key_id)
    const place = importKeyPlace(row.merchant_id, row.algorithm)
    return readPrivateKey({ armoredKey: unseal(dataKey, place, row.private_key_encrypted) })
  }

  return {
    async publicKey(caller: Caller, algorithm: ImportKeyAlgorithm = 'curve25519'): Promise<ImportKey> {
      const known = await findKeys(deps.database, caller.merchant_id)
      let row = known.find((key) => key.algorithm === algorithm)
      if (row === undefined) {
        // Making one of RSA takes seconds: once for all who wait.
        const name = `${caller.merchant_id}|${algorithm}`
        const made = making.get(name) ?? make(caller, algorithm).finally(() => making.delete(name))
        making.set(name, made)
        row = await made
      }
      return { object: 'import_key', algorithm, fingerprint: row.fingerprint, public_key: row.public_key }
    },

    /** The clear bytes of a file. Only when they have ended without a fault is the file what its sender encrypted. */
    async *decrypt(
      merchantId: string,
      source: AsyncIterable<Buffer>,
      armoured: boolean,
    ): AsyncGenerator<Buffer> {
      const openpgp = await import('openpgp')
      const rows = await findKeys(deps.database, merchantId)
      if (rows.length === 0)
        throw new BrokenFile('encrypted_to_another_key', 'It is not encrypted to a key of these imports.')
      const decryptionKeys = await Promise.all(rows.map(open))
      // Without this a library that guards its callers would keep the whole file in memory until its end.
      const config = { allowUnauthenticatedStream: true }
      try {
        const stream = ReadableStream.from(source)
        const message = armoured
          ? await openpgp.readMessage({ armoredMessage: textOf(stream), config })
          : await openpgp.readMessage({ binaryMessage: stream, config })
        const { data } = await openpgp.decrypt({ message, decryptionKeys, format: 'binary', config })
        for await (const part of data as AsyncIterable<Uint8Array>) yield Buffer.from(part)
      } catch (error) {
        throw decryptionFailure(error)
      }
    },
  }
}

function textOf(bytes: ReadableStream<Uint8Array>): ReadableStream<string> {
  return bytes.pipeThrough(new TextDecoderStream('latin1') as ReadableWritablePair<string, Uint8Array>)
}

/** The library's words are not ours, and its faults have no codes. A fault of the disk is passed on as it is. */
function decryptionFailure(error: unknown): unknown {
  if (error instanceof BrokenFile || (error as NodeJS.ErrnoException).syscall !== undefined) return error
  const message = error instanceof Error ? error.message : ''
  return /session key|No decryption key/i.test(message)
    ? new BrokenFile('encrypted_to_another_key', 'It is not encrypted to a key of these imports.')
    : new BrokenFile('decryption_failed', 'It is no whole OpenPGP message, or was changed on its way.')
}

function findKeys(database: Database, merchantId: string): Promise<KeyRow[]> {
  return database.read<KeyRow>([merchantId], {
    name: 'find_import_keys',
    text: 'select * from import_keys where merchant_id = $1 order by merchant_id, algorithm',
    values: [merchantId],
  })
}

/** Where another process has just made one, that is the key. */
async function insertKey(database: Database, caller: Caller, row: KeyRow): Promise<KeyRow> {
  const rows = await database.commit<KeyRow>([row.merchant_id], {
    name: 'insert_import_key',
    text: `with added as (
             insert into import_keys (merchant_id, algorithm, fingerprint, public_key, data_key_id,
               private_key_encrypted)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning *
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, result)
             select $7, $1, $8, $9, 'import_key.create', fingerprint, $10, $11, 'done' from added
           )
           select * from added`,
    values: [
      ...[row.merchant_id, row.algorithm, row.fingerprint, row.public_key],
      ...[row.data_key_id, row.private_key_encrypted],
      ...[newId('audit'), caller.actor, caller.key_id, caller.request_id, caller.source_address],
    ],
  })
  if (rows[0] !== undefined) return rows[0]
  const known = await findKeys(database, row.merchant_id)
  return known.find(({ algorithm }) => algorithm === row.algorithm)!
}
