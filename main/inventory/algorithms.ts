/**
 * Every use of cryptography and the files it is in. docs/cryptography.md shows it. A test looks for files that use
 * cryptography and are not named here, and for those named that do not.
 */

export type AlgorithmEntry = { what: string; algorithm: string; parameters: string; files: string[] }

const hkdf = 'HKDF-SHA-256 of the fingerprint key, no salt'

export const algorithms: AlgorithmEntry[] = [
  {
    what: 'card numbers, data of tokens, secrets of connections and destinations, import keys at rest',
    algorithm: 'AES-256-GCM (NIST SP 800-38D)',
    parameters: 'random 96-bit nonce, 128-bit tag, additional data [below](#a-sealed-text)',
    files: ['vault/keys/sealed-text.ts'],
  },
  {
    what: 'data keys and fingerprint keys at rest, by a file or by shares',
    algorithm: 'AES-256-GCM',
    parameters: 'the same, additional data [below](#a-wrapped-key); AWS KMS and OpenBao do it themselves',
    files: ['vault/keys/aes-wrapping.ts'],
  },
  {
    what: 'the id of a wrapping key',
    algorithm: 'HMAC-SHA-256 of `coffer wrapping key id`, its first 128 bits',
    parameters: 'the wrapping key',
    files: ['vault/keys/aes-wrapping.ts'],
  },
  {
    what: 'shares of a wrapping key',
    algorithm: 'Shamir over GF(2⁸), each with a SHA-256 check of 32 bits against typing errors',
    parameters: 'by `shamir-secret-sharing`; k of n, 2 or more of at most 255',
    files: ['vault/keys/shares.ts'],
  },
  {
    what: 'is this number, or this bank account, known?',
    algorithm: 'HMAC-SHA-256 of the whole number (PCI DSS 3.5.1.1)',
    parameters: `key: ${hkdf}, info = merchant id`,
    files: ['vault/keys/fingerprints.ts'],
  },
  {
    what: 'is this body the same? (vault)',
    algorithm: 'HMAC-SHA-256 of canonical JSON',
    parameters: `key: ${hkdf}, info = \`idempotency body\``,
    files: ['vault/keys/fingerprints.ts', 'core/idempotency.ts'],
  },
  {
    what: 'is this body the same? (payments)',
    algorithm: 'HMAC-SHA-256 of canonical JSON; of a batch, of its bytes',
    parameters: '`PLATFORM_BODY_KEY`',
    files: ['core/idempotency.ts', 'platform/batches/upload.ts'],
  },
  {
    what: 'is this body the same? (keys, merchants, users, approvals)',
    algorithm: 'SHA-256 of canonical JSON',
    parameters: 'no key: these bodies hold no secret and no card number',
    files: [
      'access/api-keys/api-keys.ts',
      'access/merchants/merchants.ts',
      'access/users/users.ts',
      'access/approvals/approvals.ts',
      'core/approvals.ts',
    ],
  },
  {
    what: 'is this the right fingerprint key?',
    algorithm: 'HMAC-SHA-256 of `coffer key check <name>`',
    parameters: 'that key',
    files: ['vault/keys/local-keys.ts'],
  },
  {
    what: 'CVCs in a store that is shared',
    algorithm: 'AES-256-GCM; HMAC-SHA-256 for the names they are kept under',
    parameters: 'a key a value: HKDF-SHA-256 of `VAULT_CVC_STORE_KEY` with a random salt',
    files: ['vault/cvc/shared-cvc-leases.ts'],
  },
  {
    what: 'files of imports and exports on the disk of the vault',
    algorithm: 'AES-256-GCM, frame by frame',
    parameters: 'a key a file; additional data: the file and the number of the frame',
    files: ['vault/transfer/spool.ts'],
  },
  {
    what: 'files of imports and exports on their way',
    algorithm: 'OpenPGP (RFC 9580) by `openpgp`',
    parameters: 'imports to Ed25519 and X25519 or RSA of 4,096 bits; exports to the key of the recipient',
    files: [
      'vault/transfer/import-key.ts',
      'vault/transfer/recipient-key.ts',
      'vault/transfer/export-worker.ts',
    ],
  },
  {
    what: 'has a file arrived whole, and which rows are its own doubles?',
    algorithm: 'SHA-256',
    parameters: 'rows are compared by their keyed hash',
    files: ['vault/transfer/check-file.ts', 'vault/transfer/chunk.ts', 'vault/transfer/export-worker.ts'],
  },
  {
    what: 'is a card that came from a file what was written?',
    algorithm: 'SHA-256',
    parameters: "over the list of a chunk's cards, kept in the audit trail",
    files: ['main/audit/verify-imports.ts', 'vault/transfer/chunk.ts'],
  },
  {
    what: 'was the audit trail changed?',
    algorithm: 'SHA-256 chain, checkpoints signed with Ed25519',
    parameters: '[audit](audit.md)',
    files: ['core/audit-chain.ts'],
  },
  {
    what: 'tokens of users, services and roles',
    algorithm: 'JWS, EdDSA with Ed25519 (RFC 8037)',
    parameters: 'other algorithms are refused',
    files: ['access/tokens.ts', 'core/tokens.ts', 'access/token-check.ts', 'access/start-access.ts'],
  },
  {
    what: 'tokens of an identity provider',
    algorithm: 'JWS with RSA, ECDSA or EdDSA',
    parameters: 'by its published keys; `none` and symmetric ones are refused',
    files: ['access/people.ts'],
  },
  {
    what: 'API keys at rest',
    algorithm: 'SHA-256 of the whole key, compared in constant time',
    parameters: '160 random bits need no slow hash',
    files: ['access/keys.ts'],
  },
  {
    what: 'finishing of forwards',
    algorithm: 'HMAC-SHA-256 over a digest; RSA-SHA-256 with OAuth 1.0a; JWE with RSA-OAEP-256',
    parameters: 'as CyberSource, Mastercard and Visa want it',
    files: [
      'vault/forward/finishing/http-signature.ts',
      'vault/forward/finishing/oauth1-body-hash.ts',
      'vault/forward/finishing/jwe.ts',
    ],
  },
  {
    what: 'is this notice from the PSP?',
    algorithm: 'HMAC-SHA-256 as the PSP signs, compared in constant time',
    parameters: "the connection's webhook secret, which stays in the vault",
    files: ['vault/forward/webhook-signatures.ts'],
  },
  {
    what: 'was this notice taken before? which part of a percentage split is a card in?',
    algorithm: 'SHA-256',
    parameters: 'no key: neither protects anything',
    files: ['platform/psp-webhooks/receive.ts', 'platform/routing/choose.ts'],
  },
  {
    what: 'client certificates of destinations',
    algorithm: 'TLS client authentication',
    parameters: 'the key has to fit the certificate',
    files: ['vault/forward/destinations/client-certificate.ts'],
  },
  {
    what: 'keys that settings give are of their kind',
    algorithm: 'Ed25519 in PEM',
    parameters: 'checked at the start',
    files: ['core/config.ts', 'main/sandbox-secrets.ts'],
  },
]
