/** Where the files of imports and exports are, and what opens them: a folder for each, a key for each. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Keyring } from '../keys/keyring.ts'
import { fileKeyPlace, seal, unseal } from '../keys/sealed-text.ts'
import { newSpoolKey, type SpoolFile, spoolFile } from './spool.ts'

export type TransferFiles = ReturnType<typeof createTransferFiles>

type FileKey = { merchant_id: string; data_key_id: string; file_key_encrypted: Buffer }

/** @param folder Shared by all processes of the vault where there are several. */
export function createTransferFiles(deps: { keyring: Keyring; folder: string }) {
  const folderOf = (objectId: string) => join(deps.folder, objectId)

  return {
    /** A new key for the files of an import or export, as its row keeps it. */
    async newKey(merchantId: string, objectId: string) {
      const dataKey = await deps.keyring.forEncryption(merchantId)
      const place = fileKeyPlace(merchantId, objectId)
      const file_key_encrypted = seal(dataKey, place, newSpoolKey().toString('latin1'))
      return { data_key_id: dataKey.data_key_id, file_key_encrypted }
    },
    async open(row: FileKey, objectId: string, name: string): Promise<SpoolFile> {
      const dataKey = await deps.keyring.forDecryption(row.merchant_id, row.data_key_id)
      const sealed = fileKeyPlace(row.merchant_id, objectId)
      const key = Buffer.from(unseal(dataKey, sealed, row.file_key_encrypted), 'latin1')
      return spoolFile(join(folderOf(objectId), name), `${objectId}|${name}`, key)
    },
    path: (objectId: string, name: string) => join(folderOf(objectId), name),
    async prepare(objectId: string): Promise<void> {
      await mkdir(folderOf(objectId), { recursive: true, mode: 0o700 })
    },
    async remove(objectId: string): Promise<void> {
      await rm(folderOf(objectId), { recursive: true, force: true })
    },
    /** Removes what else an object has. */
    async keepOnly(objectId: string, name: string): Promise<void> {
      const others = (await readdir(folderOf(objectId))).filter((each) => each !== name)
      for (const each of others) await rm(join(folderOf(objectId), each), { force: true })
    },
    /** The objects of a kind that have files on this disk. */
    async present(prefix: string): Promise<string[]> {
      const names = await readdir(deps.folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return []
        throw error
      })
      return names.filter((name) => name.startsWith(prefix))
    },
  }
}
