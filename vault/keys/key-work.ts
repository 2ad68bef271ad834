/** All that is done to keys while the vault runs: notices of changes, rotations, destructions and the census. */
import type { Approvals } from '@coffer/core/approvals.ts'
import { type ConfigOf, integer } from '@coffer/core/config.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { type Census, createCensus } from './census.ts'
import { createDestructions, type Destructions, startDestroying } from './destructions.ts'
import { followKeyNotices } from './key-notices.ts'
import type { Keyring } from './keyring.ts'
import { startRotating } from './rotating.ts'
import { createRotations, type Rotations } from './rotations.ts'
import type { WrappingKeys } from './wrapping-keys.ts'

export const keyWorkSettings = {
  VAULT_KEY_ROTATION_ROWS_PER_SECOND: integer('rows that a rotation of keys may do in a second', {
    min: 1,
    max: 100_000,
    fallback: 1_000,
  }),
  VAULT_BACKUP_RETENTION_DAYS: integer("how long backups of the vault's database are kept, at most", {
    min: 1,
    max: 3_650,
    fallback: 35,
  }),
}

export type KeyWork = { rotations: Rotations; census: Census; destructions: Destructions }

/** Resolves when this process has told that it holds keys: from then on changes of keys wait for it. */
export async function startKeyWork(deps: {
  database: Database
  relayDatabase: Database
  keyring: Keyring
  wrappingKeys: WrappingKeys
  approvals: Approvals
  config: ConfigOf<typeof keyWorkSettings>
  clock: Clock
  log: Log
}): Promise<KeyWork & { stop(): Promise<void> }> {
  const { config, wrappingKeys } = deps
  const notices = await followKeyNotices({ ...deps, wrappingKeyId: () => wrappingKeys.currentId() })
  const rows_per_second = config.VAULT_KEY_ROTATION_ROWS_PER_SECOND
  const rotating = startRotating({ ...deps, holder: notices.holder, rows_per_second })
  const destroying = startDestroying({ ...deps, backup_retention_days: config.VAULT_BACKUP_RETENTION_DAYS })
  return {
    rotations: createRotations(deps),
    census: createCensus(deps),
    destructions: createDestructions(deps),
    async stop() {
      await Promise.all([rotating.stop(), destroying.stop()])
      await notices.stop()
    },
  }
}
