/** Shares that custodians give: written to the audit trail first, then put together, then the vault opens. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Keyring } from './keyring.ts'
import type { ShamirKeys } from './shamir-keys.ts'
import { readShare } from './shares.ts'

export type Unsealing = ReturnType<typeof createUnsealing>

/** @param shamirKeys undefined where the provider is another one. */
export function createUnsealing(deps: {
  database: Database
  keyring: Keyring
  shamirKeys: ShamirKeys | undefined
  log: Log
}) {
  const { database, keyring, log } = deps

  function shamirKeys(): ShamirKeys {
    if (deps.shamirKeys === undefined) throw new Failure('keys_not_in_shares')
    return deps.shamirKeys
  }

  function seal(keyId: string = shamirKeys().keyIds[0]!) {
    return { object: 'seal' as const, sealed: isSealed(keyring), ...shamirKeys().gathering(keyId) }
  }

  return {
    state: () => seal(),

    /** Its audit record is committed before the share counts. What it says of a share is which key it is of. */
    async give(caller: Caller, text: string) {
      const keys = shamirKeys()
      const share = readShare(text)
      if (share === undefined)
        throw new Failure('share_invalid', { param: 'share', detail: 'It is no share, or was mistyped.' })
      await insertAuditRecord(database, caller, 'key.share_give', `shamir:${share.key_id}`, 'done')
      const given = await keys.give(share, caller.actor).catch(async (error: unknown) => {
        await insertAuditRecord(database, caller, 'key.share_give', `shamir:${share.key_id}`, 'refused')
        throw error
      })
      if (isSealed(keyring)) await openAgain(keyring, log)
      return { object: 'seal' as const, sealed: isSealed(keyring), ...given }
    },
  }
}

const isSealed = (keyring: Keyring) => !keyring.fingerprints.isOpen()

/** While shares are missing it stays as it is; what else there is in the way is for the log. */
async function openAgain(keyring: Keyring, log: Log): Promise<void> {
  await keyring.open().catch((error: unknown) => {
    if (!(error instanceof Failure) || error.code !== 'vault_sealed')
      log.error({ error }, 'the key is whole, and the vault does not open with it')
  })
}

async function insertAuditRecord(
  database: Database,
  caller: Caller,
  action: string,
  objectId: string,
  result: 'done' | 'refused',
): Promise<void> {
  const { merchant_id, actor, key_id, request_id, source_address } = caller
  await database.commit([merchant_id], {
    name: 'insert_share_audit_record',
    text: `insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, result) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    values: [
      newId('audit'),
      merchant_id,
      actor,
      key_id,
      action,
      objectId,
      request_id,
      source_address,
      result,
    ],
  })
}
