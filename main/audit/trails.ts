/** Which audit trails a command is about: those of the databases it is told, else those of a running sandbox. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkpointFileName } from '@coffer/core/audit-checkpoint-file.ts'
import { databaseUrl, zones } from '../databases.ts'
import { runningSandbox } from '../doctor.ts'
import { logins, type Zone } from '../sandbox-secrets.ts'
import { auditKeyText, readAuditConfig } from '../settings.ts'

export type Trail = {
  zone: Zone
  database_url: string
  /** Any of them may have signed: a key that was replaced stays among them. */
  public_keys: KeyObject[]
  /** The exported checkpoints; undefined where none are given. */
  checkpoint_file: string | undefined
}

/** @throws Error that says what to set, where there is nothing to look at. */
export async function findTrails(
  environment: Record<string, string | undefined>,
  dataDirectory: string,
): Promise<Trail[]> {
  const config = await readAuditConfig(environment)
  const folder = config.COFFER_AUDIT_FOLDER
  const told = [
    ['access', config.ACCESS_AUDIT_DATABASE_URL, config.ACCESS_AUDIT_PUBLIC_KEY] as const,
    ['vault', config.VAULT_AUDIT_DATABASE_URL, config.VAULT_AUDIT_PUBLIC_KEY] as const,
    ['platform', config.PLATFORM_AUDIT_DATABASE_URL, config.PLATFORM_AUDIT_PUBLIC_KEY] as const,
  ].flatMap(([zone, url, keys]) => {
    if (url === undefined) return []
    if (keys === undefined)
      throw new Error(`${zone.toUpperCase()}_AUDIT_PUBLIC_KEY is not set: ${auditKeyText}`)
    const checkpoint_file = folder === undefined ? undefined : join(folder, checkpointFileName(zone))
    return [{ zone, database_url: url.expose(), public_keys: publicKeysOf(keys), checkpoint_file }]
  })
  return told.length > 0 ? told : sandboxTrails(dataDirectory)
}

function publicKeysOf(text: string): KeyObject[] {
  const found = text.match(/-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g) ?? []
  if (found.length === 0) throw new Error(`there is no public key in PEM: ${auditKeyText}`)
  return found.map((pem) => createPublicKey(pem))
}

async function sandboxTrails(folder: string): Promise<Trail[]> {
  const running = await runningSandbox(folder)
  if (running === undefined)
    throw new Error(
      `No sandbox runs on ${folder}. Start it, or set VAULT_AUDIT_DATABASE_URL and VAULT_AUDIT_PUBLIC_KEY (the same ` +
        'for ACCESS and PLATFORM) and COFFER_AUDIT_FOLDER, as docs/audit.md says.',
    )
  return zones.map((zone) => {
    const login = logins[zone][3]
    const password = readFileSync(join(folder, `password-${login}`)).toString('base64url')
    return {
      zone,
      database_url: databaseUrl(running.postgres, login, password, `coffer_${zone}`),
      public_keys: [createPublicKey(readFileSync(join(folder, `${zone}-audit.pem`)))],
      checkpoint_file: join(folder, 'audit-checkpoints', checkpointFileName(zone)),
    }
  })
}
