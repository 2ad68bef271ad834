/** Import and export for tests: the real parts of a vault on a real PostgreSQL, with a folder of their own. */
import { createHash } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { Caller } from '@coffer/core/caller.ts'
import { quietLog, type Scope, type TestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault } from '../test-vault.ts'
import type { VerdictRow } from './chunk.ts'
import { createTransferFiles } from './files.ts'
import { createImportKeys } from './import-key.ts'
import type { Import, NewImport } from './import-schemas.ts'
import { workOnce } from './import-worker.ts'
import { createImports } from './imports.ts'
import { createReport } from './report.ts'

export async function openTestTransfer(
  scope: Scope,
  postgres: TestPostgres,
  given: { file_bytes_max?: number; folder?: string } = {},
) {
  const options = { file_bytes_max: 2 ** 26, ...given }
  const folder = given.folder ?? mkdtempSync(join(tmpdir(), 'coffer-test-transfer-'))
  if (given.folder === undefined) scope.after(() => rm(folder, { recursive: true, force: true }))
  const vault = await openTestVault(postgres)
  const relayDatabase = postgres.open('coffer_vault_relay', { connections_max: 2 })
  const clock = { now: () => new Date('2026-11-22T12:00:00.123Z') }
  const files = createTransferFiles({ keyring: vault.keyring, folder })
  const deps = { ...vault, ...options, relayDatabase, clock, files, log: quietLog }
  const importKeys = createImportKeys(deps)
  const imports = createImports(deps)
  const report = createReport(vault.database)
  const workerDeps = { ...deps, importKeys }

  /** Until nothing is left to do. */
  async function work(): Promise<void> {
    while (await workOnce(workerDeps));
  }

  async function begin(caller: Caller, file: Buffer, input: Partial<NewImport> = {}): Promise<Import> {
    const sha256 = createHash('sha256').update(file).digest('hex')
    const { body } = await imports.create(caller, { sha256, ...input }, null, (made) => JSON.stringify(made))
    const { id } = JSON.parse(body) as Import
    return imports.upload(caller, id, Readable.from([file]), { offset: 0, total: file.length })
  }

  async function verdicts(caller: Caller, importId: string): Promise<VerdictRow[]> {
    const row = await imports.find(caller.merchant_id, importId)
    const lines = (await report.stream(row, { format: 'jsonl' }).toArray()).join('').split('\n')
    return lines.filter((line) => line !== '').map((line) => Object.values(JSON.parse(line)) as VerdictRow)
  }

  return {
    ...deps,
    folder,
    imports,
    importKeys,
    report,
    begin,
    work,
    verdicts,
    /** A file taken to its end, with the verdict on each row. */
    async run(file: string | Buffer, input: Partial<NewImport> = {}, caller = newCaller()) {
      const { id } = await begin(caller, Buffer.from(file), input)
      await work()
      const ended = await imports.get(caller.merchant_id, id)
      return { caller, import: ended, verdicts: await verdicts(caller, id) }
    },
  }
}

export type TestTransfer = Awaited<ReturnType<typeof openTestTransfer>>
