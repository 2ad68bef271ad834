/** All roles, on one screen: a name, what it reads from the environment, how it starts. */
import { ConfigError, type ConfigOf, lookForConfig, readConfig, type Settings } from '@coffer/core/config.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Role } from '@coffer/core/role.ts'

export const roleNames = ['access', 'vault', 'platform'] as const
export type RoleName = (typeof roleNames)[number]

type Environment = Record<string, string | undefined>

export type RoleModule = {
  settings: Settings
  /** What is wrong with settings beside each other, as far as they are there. */
  check(environment: Environment): string[]
  start(environment: Environment, log: Log): Promise<Role>
  /** Its public routes as the contract sees them: declared, with nothing behind. */
  declaredRoutes(): Routes
}

/** In the order they start; they stop in the reverse one. */
export const roles: Record<RoleName, () => Promise<RoleModule>> = {
  access: async () => starter(await import('@coffer/access/start-access.ts')),
  vault: async () => starter(await import('@coffer/vault/start-vault.ts')),
  platform: async () => starter(await import('@coffer/platform/start-platform.ts')),
}

function starter<Table extends Settings>(module: {
  settings: Table
  check?(config: ConfigOf<Table>): string[]
  start(config: ConfigOf<Table>, log: Log): Promise<Role>
  publicRoutes(parts: never): Routes
}): RoleModule {
  const { settings, start } = module
  const problemsOf = (config: ConfigOf<Table>) => module.check?.(config) ?? []
  return {
    settings,
    check: (environment) => problemsOf(lookForConfig(settings, environment).config as ConfigOf<Table>),
    start(environment, log) {
      const config = readConfig(settings, environment)
      const problems = problemsOf(config)
      if (problems.length > 0) throw new ConfigError(problems)
      return start(config, log)
    },
    declaredRoutes: () => module.publicRoutes({} as never),
  }
}
