/** Import and export of cards: put together. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Approvals } from '@coffer/core/approvals.ts'
import { type ConfigOf, integer, text } from '@coffer/core/config.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { Keyring } from '../keys/keyring.ts'
import { createCardSources } from './card-sources.ts'
import * as exportRoutes from './export-routes.ts'
import { startExportWorker } from './export-worker.ts'
import { createExports } from './exports.ts'
import { createTransferFiles } from './files.ts'
import { createImportKeys } from './import-key.ts'
import * as importRoutes from './import-routes.ts'
import { startImportWorker } from './import-worker.ts'
import { createImports } from './imports.ts'
import { createReport } from './report.ts'

const gibibyte = 1024 ** 3

export const transferSettings = {
  VAULT_TRANSFER_FOLDER: text(
    'where files wait, encrypted; shared by all processes of the vault',
    join(tmpdir(), 'coffer-transfer'),
  ),
  VAULT_IMPORT_BYTES_MAX: integer('size of a file of cards', {
    min: 1024,
    max: 64 * gibibyte,
    fallback: 4 * gibibyte,
  }),
  VAULT_EXPORT_LIFETIME_HOURS: integer('time the file of an export can be fetched for', {
    min: 1,
    max: 720,
    fallback: 24,
  }),
}

export type Transfer = ReturnType<typeof openTransfer>

export function openTransfer(
  deps: {
    database: Database
    relayDatabase: Database
    keyring: Keyring
    clock: Clock
    approvals: Approvals
    log: Log
  },
  config: ConfigOf<typeof transferSettings>,
) {
  const file_bytes_max = config.VAULT_IMPORT_BYTES_MAX
  const files = createTransferFiles({ ...deps, folder: config.VAULT_TRANSFER_FOLDER })
  const importKeys = createImportKeys(deps)
  const imports = createImports({ ...deps, files, file_bytes_max })
  const importWorker = startImportWorker({ ...deps, files, importKeys, file_bytes_max })
  const lifetime_hours = config.VAULT_EXPORT_LIFETIME_HOURS
  const exportWorker = startExportWorker({ ...deps, files, lifetime_hours })
  return {
    imports,
    exports: createExports({ ...deps, files }),
    importKeys,
    report: createReport(deps.database),
    cardSources: createCardSources(deps.database),
    async stop() {
      await Promise.all([importWorker.stop(), exportWorker.stop()])
    },
  }
}

export function transferRoutes(transfer: Transfer): Routes {
  return async (server) => {
    await importRoutes.publicRoutes(transfer)(server)
    await exportRoutes.publicRoutes(transfer)(server)
  }
}
