/** The secrets a sandbox lives with: made on its first start, kept in its data directory, mode 0600. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { DataDirectory } from './data-directory.ts'

export type SandboxSecrets = {
  superuser_password: string
  /** By login name. */
  passwords: Record<string, string>
  environment: Record<string, string>
}

/** The PostgreSQL logins of each zone's database: who migrates it, who serves from it, who relays events, who audits. */
export const logins = {
  access: ['coffer_access_migrator', 'coffer_access_service', 'coffer_access_relay', 'coffer_access_auditor'],
  vault: ['coffer_vault_migrator', 'coffer_vault_service', 'coffer_vault_relay', 'coffer_vault_auditor'],
  platform: [
    'coffer_platform_migrator',
    'coffer_platform_service',
    'coffer_platform_relay',
    'coffer_platform_auditor',
  ],
} as const
export type Zone = keyof typeof logins

export function readSandboxSecrets(directory: DataDirectory): SandboxSecrets {
  const password = (name: string) => directory.secretFile(`password-${name}`, 24).toString('base64url')
  const root = (name: string) => rootKey(directory, name).toString('base64')
  const signing = ed25519(directory, 'access-signing.pem')
  const vault = ed25519(directory, 'vault-role.pem')
  const platform = ed25519(directory, 'platform-role.pem')
  const auditKey = (zone: Zone) => ed25519(directory, `${zone}-audit.pem`).private
  return {
    superuser_password: password('postgres'),
    passwords: Object.fromEntries(
      Object.values(logins)
        .flat()
        .map((login) => [login, password(login)]),
    ),
    environment: {
      ACCESS_SIGNING_KEY: signing.private,
      ACCESS_PUBLIC_KEY: signing.public,
      VAULT_ROLE_KEY: vault.private,
      VAULT_PUBLIC_KEY: vault.public,
      PLATFORM_ROLE_KEY: platform.private,
      PLATFORM_PUBLIC_KEY: platform.public,
      VAULT_WRAPPING_KEY: root('vault-wrapping.key'),
      VAULT_FINGERPRINT_KEY: root('vault-fingerprint.key'),
      ACCESS_AUDIT_KEY: auditKey('access'),
      VAULT_AUDIT_KEY: auditKey('vault'),
      PLATFORM_AUDIT_KEY: auditKey('platform'),
      PLATFORM_BODY_KEY: root('platform-body.key'),
      FIRST_SECRET_KEY: secretKey(directory),
    },
  }
}

/** A database that was written with a key cannot be read with a new one: once there is a cluster, none is made. */
function rootKey(directory: DataDirectory, name: string): Buffer {
  if (existsSync(directory.file('postgres')) && !existsSync(directory.file(name)))
    throw new Error(
      `${directory.file(name)} is missing, and the database beside it was written with it: ` +
        'restore it from a backup. Without it the cards in there are lost.',
    )
  return directory.secretFile(name, 32)
}

function ed25519(directory: DataDirectory, name: string): { private: string; public: string } {
  let pem = directory.readPrivateFile(name)?.toString()
  if (pem === undefined) {
    pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    directory.writePrivateFile(name, pem)
  }
  const publicKey = createPublicKey(createPrivateKey(pem))
  return { private: pem, public: publicKey.export({ type: 'spki', format: 'pem' }).toString() }
}

/** `sk_test_` and 58 symbols of the id alphabet, as access makes them. */
function secretKey(directory: DataDirectory): string {
  const name = 'secret-key'
  const kept = directory.readPrivateFile(name)?.toString()
  if (kept !== undefined) return kept
  const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'
  const key = `sk_test_${[...randomBytes(58)].map((byte) => alphabet[byte & 31]).join('')}`
  directory.writePrivateFile(name, key)
  return key
}
