/** Whom an export is for: the OpenPGP key (RFC 9580) that its file is encrypted to. */
import { Failure } from '@coffer/core/errors.ts'

const rsaBitsMin = 2048

/** In upper case, as GnuPG prints it. @throws Failure recipient_key_invalid for what nothing should be encrypted to. */
export async function recipientFingerprint(armoured: string, now: Date): Promise<string> {
  const refuse = (detail: string) =>
    new Failure('recipient_key_invalid', { param: 'recipient_public_key', detail })
  const { readKeys } = await import('openpgp')
  const keys = await readKeys({ armoredKeys: armoured }).catch(() => [])
  const [key] = keys
  if (key === undefined || keys.length > 1) throw refuse('It is no single OpenPGP key in armour.')
  if (key.isPrivate()) throw refuse('It is a private key: keep that to yourself.')
  const encryption = await key.getEncryptionKey(undefined, now).catch(() => undefined)
  if (encryption === undefined) throw refuse('It has no part to encrypt to, or has expired or been revoked.')
  const { bits } = encryption.getAlgorithmInfo() as { bits?: number }
  if (bits !== undefined && bits < rsaBitsMin) throw refuse(`It has fewer than ${rsaBitsMin} bits.`)
  return key.getFingerprint().toUpperCase()
}
