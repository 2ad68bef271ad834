/** All roles, on one screen: a name, what it reads from the environment, how it starts. */
import { type ConfigOf, readConfig, type Settings } from '@coffer/core/config.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Role } from '@coffer/core/role.ts'

export const roleNames = ['access', 'vault', 'platform'] as const
export type RoleName = (typeof roleNames)[number]

type Environment = Record<string, string | undefined>
type Starter = (environment: Environment, log: Log) => Promise<Role>

/** In the order they start; they stop in the reverse one. */
export const roles: Record<RoleName, () => Promise<{ settings: Settings; start: Starter }>> = {
  access: async () => starter(await import('@coffer/access/start-access.ts')),
  vault: async () => starter(await import('@coffer/vault/start-vault.ts')),
  platform: async () => starter(await import('@coffer/platform/start-platform.ts')),
}

function starter<Table extends Settings>(module: {
  settings: Table
  start(config: ConfigOf<Table>, log: Log): Promise<Role>
}): { settings: Settings; start: Starter } {
  return {
    settings: module.settings,
    start: (environment, log) => module.start(readConfig(module.settings, environment), log),
  }
}
