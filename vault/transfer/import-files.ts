/** Where the files of imports are, and what opens them. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Keyring } from '../keys/keyring.ts'
import { fileKeyPlace, seal, unseal } from '../keys/sealed-text.ts'
import { newSpoolKey, type SpoolFile, spoolFile } from './spool.ts'

export type ImportFiles = ReturnType<typeof createImportFiles>

type Row = {
  merchant_id: string
  import_id: string
  data_key_id: string
  file_key_encrypted: Buffer
  file_number: number
}

/** @param folder Shared by all processes of the vault where there are several. */
export function createImportFiles(deps: { keyring: Keyring; folder: string }) {
  const folderOf = (importId: string) => join(deps.folder, importId)

  async function open(row: Row, part: 'upload' | 'clear'): Promise<SpoolFile> {
    const dataKey = await deps.keyring.forDecryption(row.merchant_id, row.data_key_id)
    const key = Buffer.from(
      unseal(dataKey, fileKeyPlace(row.merchant_id, row.import_id), row.file_key_encrypted),
      'latin1',
    )
    const name = `${part}-${row.file_number}`
    return spoolFile(join(folderOf(row.import_id), name), `${row.import_id}|${name}`, key)
  }

  return {
    /** A new key for a file, as its row keeps it. */
    async newKey(merchantId: string, importId: string) {
      const dataKey = await deps.keyring.forEncryption(merchantId)
      const place = fileKeyPlace(merchantId, importId)
      const file_key_encrypted = seal(dataKey, place, newSpoolKey().toString('latin1'))
      return { data_key_id: dataKey.data_key_id, file_key_encrypted }
    },
    /** As it came. */
    upload: (row: Row) => open(row, 'upload'),
    /** Without its OpenPGP encryption. */
    decrypted: (row: Row) => open(row, 'clear'),
    async prepare(importId: string): Promise<void> {
      await mkdir(folderOf(importId), { recursive: true, mode: 0o700 })
    },
    async remove(importId: string): Promise<void> {
      await rm(folderOf(importId), { recursive: true, force: true })
    },
    /** The imports that have a file on this disk. */
    async present(): Promise<string[]> {
      return readdir(deps.folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return []
        throw error
      })
    },
  }
}
