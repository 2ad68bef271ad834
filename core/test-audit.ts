/** Audit records written by hand, sealers over them, and the chain as the database has it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { quietLog, type Scope, startTestPostgres } from '../test/support/postgres.ts'
import { createCheckpointSigner } from './audit-chain.ts'
import { openCheckpointFile } from './audit-checkpoint-file.ts'
import { startSealer } from './audit-sealer.ts'
import { newId } from './ids.ts'
import { Secret } from './secret.ts'

export async function testAudit(scope: Scope) {
  const postgres = await startTestPostgres(scope)
  const folder = mkdtempSync(join(tmpdir(), 'coffer-audit-'))
  scope.after(() => rmSync(folder, { recursive: true, force: true }))
  const asMigrator = (text: string, values: unknown[] = []) =>
    postgres.query('coffer_vault_migrator', text, values)

  /** By the service's login, in a transaction of the caller's if there is one. Gives the record's id. */
  async function write(client: pg.Client, merchantId: string, reason = 'a reason'): Promise<string> {
    const id = newId('audit')
    await client.query(`select set_config('coffer.merchants', $1, false)`, [merchantId])
    await client.query(
      `insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
         reason, result, ciphertext_hash)
       values ($1, $2, 'ada', 'key_1', 'card.reveal', 'card_1', 'req_1', '127.0.0.1', $3, 'done', sha256('x'))`,
      [merchantId, id, reason],
    )
    return id
  }

  return {
    postgres,
    folder,
    asMigrator,
    write,
    async connect(): Promise<pg.Client> {
      const client = new pg.Client({ connectionString: postgres.url('coffer_vault_service').expose() })
      // The server may be stopped before it.
      client.on('error', () => {})
      await client.connect()
      scope.after(() => client.end())
      return client
    },
    startSealer(into = folder) {
      return startSealer({
        zone: 'vault',
        relayDatabase: postgres.open('coffer_vault_relay'),
        signer: createCheckpointSigner('vault', new Secret(postgres.environment['VAULT_AUDIT_KEY']!)),
        file: openCheckpointFile(into, 'vault'),
        log: quietLog,
      })
    },
    /** The ids in the order of the chain. */
    async sealedIds(): Promise<string[]> {
      const rows = await asMigrator('select audit_ids from audit_seals order by first_sequence')
      return rows.flatMap((row) => row['audit_ids'] as string[])
    },
  }
}

/** Waits for what must come true; the test's own time limit ends a wait that does not. */
export async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await delay(20)
}
