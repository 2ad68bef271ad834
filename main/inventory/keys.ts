/**
 * Every key there is (PCI DSS 3.6.1.1): what it is, where it is kept, who can use it, how long it is in use and how it is
 * changed. docs/keys.md shows it. A test holds it against the settings and the tables of the vault.
 */

export type KeyEntry = {
  name: string
  /** The settings that give it, where one does. */
  settings: string[]
  algorithm: string
  purpose: string
  kept: string
  used_by: string
  /** How long it is in use before it is changed. */
  cryptoperiod: string
  rotation: string
  if_lost: string
  if_stolen: string
}

export const keys: KeyEntry[] = [
  {
    name: 'wrapping key',
    settings: ['VAULT_WRAPPING_KEY', 'VAULT_PREVIOUS_WRAPPING_KEYS'],
    algorithm: 'AES-256-GCM',
    purpose: 'wraps data keys and fingerprint keys',
    kept:
      'with the [provider](#providers): a file, AWS KMS, OpenBao or HashiCorp Vault, or shares with custodians; ' +
      'never in the database',
    used_by: 'vault',
    cryptoperiod: '1 year',
    rotation: '`POST /v1/keys/rotations`, kind `wrapping`',
    if_lost: '**every card number and every secret is lost**',
    if_stolen: "with the vault's database: all of them",
  },
  {
    name: 'data keys `dek_…`, one or more a merchant',
    settings: [],
    algorithm: 'AES-256-GCM, random nonces, at most 2³¹ uses',
    purpose:
      "card numbers, tokens, secrets of connections and destinations, import keys and files' keys of that merchant",
    kept: "vault's database, wrapped; vault's memory for `VAULT_KEY_AGE_MS` after it was opened",
    used_by: 'vault',
    cryptoperiod: '2²⁸ uses or 1 year',
    rotation: '`POST /v1/keys/rotations`, kind `data`',
    if_lost: "what it encrypted of that merchant's",
    if_stolen: "that merchant's, with the database",
  },
  {
    name: 'fingerprint keys',
    settings: ['VAULT_FINGERPRINT_KEY'],
    algorithm: 'HMAC-SHA-256 root, HKDF-SHA-256 a merchant',
    purpose:
      'finding a number or an account again without keeping it: hashes of numbers and of repeated requests',
    kept: "vault's database, wrapped; vault's memory",
    used_by: 'vault',
    cryptoperiod: '2 years',
    rotation: '`POST /v1/keys/rotations`, kind `fingerprint`',
    if_lost: 'the vault refuses to start; restore it',
    if_stolen: "with the vault's database: numbers can be found by trying",
  },
  {
    name: 'CVC store key',
    settings: ['VAULT_CVC_STORE_KEY'],
    algorithm: 'AES-256-GCM, a key a value by HKDF-SHA-256; HMAC-SHA-256 for names',
    purpose: 'CVCs in a store that several vaults share',
    kept: 'a file of each vault',
    used_by: 'vault',
    cryptoperiod: '1 year',
    rotation: 'set another in all vaults at once; CVCs under the old one are asked for again',
    if_lost: 'a new one will do; at most 15 minutes of CVCs are gone',
    if_stolen: 'with that store: the CVCs in it',
  },
  {
    name: 'import keys',
    settings: [],
    algorithm: 'OpenPGP: Ed25519 and X25519, or RSA of 4,096 bits',
    purpose: 'files of cards that are sent encrypted',
    kept: "vault's database, encrypted under a data key",
    used_by: 'vault; senders have the public half',
    cryptoperiod: "until the merchant's move is over",
    rotation: 'with the data key that encrypts it',
    if_lost: 'files that were encrypted to it are sent again, to another',
    if_stolen: 'files that were encrypted to it',
  },
  {
    name: 'keys of files under way',
    settings: [],
    algorithm: 'AES-256-GCM, one a file',
    purpose: 'files of an import or export on the disk of the vault',
    kept: "vault's database, encrypted under a data key",
    used_by: 'vault',
    cryptoperiod: 'as long as the file is there',
    rotation: 'each file has its own',
    if_lost: 'that file is sent or made again',
    if_stolen: 'with the file: what is in it',
  },
  {
    name: 'body key',
    settings: ['PLATFORM_BODY_KEY'],
    algorithm: 'HMAC-SHA-256',
    purpose: 'hashes of the bodies of payments',
    kept: 'a file of the platform',
    used_by: 'platform',
    cryptoperiod: '2 years',
    rotation: 'set another; requests repeated across it are refused as different',
    if_lost: 'repeated requests are refused as different',
    if_stolen: 'little: these bodies hold no card number',
  },
  {
    name: 'signing key',
    settings: ['ACCESS_SIGNING_KEY'],
    algorithm: 'Ed25519',
    purpose: 'tokens of users and of services',
    kept: 'a file of access; vault and platform have `ACCESS_PUBLIC_KEY`',
    used_by: 'access',
    cryptoperiod: '1 year',
    rotation: 'set another pair and restart all roles; tokens live minutes',
    if_lost: 'a new one will do',
    if_stolen: '**whoever has it can act as anybody**, reveal included',
  },
  {
    name: 'role keys',
    settings: ['VAULT_ROLE_KEY', 'PLATFORM_ROLE_KEY'],
    algorithm: 'Ed25519',
    purpose: 'who a role is, towards access',
    kept: 'a file of that role; access has `VAULT_PUBLIC_KEY` and `PLATFORM_PUBLIC_KEY`',
    used_by: 'that role',
    cryptoperiod: '1 year',
    rotation: 'set another pair and restart access and that role',
    if_lost: 'a new one will do',
    if_stolen: "API keys can be exchanged; with the platform's, forwards can be asked for",
  },
  {
    name: 'audit keys',
    settings: ['ACCESS_AUDIT_KEY', 'VAULT_AUDIT_KEY', 'PLATFORM_AUDIT_KEY'],
    algorithm: 'Ed25519',
    purpose: 'checkpoints of the [audit trail](audit.md)',
    kept: 'a file of that role',
    used_by: 'that role',
    cryptoperiod: '1 year',
    rotation: 'set another; keep the old public key to check what it signed',
    if_lost: 'a new one will do',
    if_stolen:
      'with the database: the trail can be forged, except against checkpoints that were exported before',
  },
  {
    name: 'API keys `sk_…`',
    settings: ['FIRST_SECRET_KEY'],
    algorithm: '160 random bits, kept as SHA-256',
    purpose: 'what the key’s scopes allow',
    kept: 'with the merchant; access has a digest',
    used_by: 'the merchant',
    cryptoperiod: 'until it expires or is revoked',
    rotation: 'make another, revoke the old one',
    if_lost: 'make another',
    if_stolen: "what the key's scopes allow",
  },
  {
    name: 'secrets of connections and destinations',
    settings: [],
    algorithm: "the PSP's or recipient's",
    purpose:
      'the account at the PSP, and the signatures of its webhooks; finishing of forwards; client certificates',
    kept: "vault's database, encrypted under a data key",
    used_by: 'vault',
    cryptoperiod: "the PSP's",
    rotation: '`PATCH /v1/connections/{id}`; a new destination',
    if_lost: 'get another from the PSP',
    if_stolen: 'the account at the PSP',
  },
  {
    name: 'passwords of databases and of the CVC store',
    settings: [
      'ACCESS_DATABASE_URL',
      'ACCESS_RELAY_DATABASE_URL',
      'VAULT_DATABASE_URL',
      'VAULT_RELAY_DATABASE_URL',
      'VAULT_CVC_STORE_URL',
      'PLATFORM_DATABASE_URL',
      'PLATFORM_RELAY_DATABASE_URL',
    ],
    algorithm: '192 random bits in the sandbox',
    purpose: 'who a role is, towards its database',
    kept: 'a file of that role',
    used_by: 'that role',
    cryptoperiod: '1 year',
    rotation: 'set another in PostgreSQL and the file, restart the role',
    if_lost: 'set another',
    if_stolen: 'what that login may',
  },
]
