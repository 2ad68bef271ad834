/**
 * AWS KMS: wraps by Encrypt and unwraps by Decrypt with a symmetric key that never leaves it. The context is the
 * encryption context, so it also stands in CloudTrail beside each call.
 */
import { Buffer } from 'node:buffer'
import { ProviderDenied } from './guarded-keys.ts'
import { type KeyContext, type WrappingKeys, WrongKey } from './wrapping-keys.ts'

/** The error types of AWS's documentation, by what they mean here. All others mean that it did not answer. */
const wrongNames = new Set(['InvalidCiphertextException', 'IncorrectKeyException'])
const deniedNames = new Set([
  'AccessDeniedException',
  'CredentialsProviderError',
  'DisabledException',
  'ExpiredTokenException',
  'InvalidKeyUsageException',
  'InvalidSignatureException',
  'KMSInvalidStateException',
  'MissingAuthenticationTokenException',
  'NotFoundException',
  'UnrecognizedClientException',
])

const attemptsMax = 2
const provider = 'aws-kms:'

/** arn:<partition>:kms:<region>:<account>:key/<id>: an alias could be pointed at another key. */
export const kmsKeyArn = /^arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:key\/[A-Za-z0-9-]+$/

export async function createAwsKms(options: {
  key_arn: string
  /** Keys that it followed: they unwrap, but wrap nothing. */
  previous_key_arns: string[]
  /** Of a VPC endpoint; without it the region's own. */
  endpoint: string | undefined
  deadline_ms: number
}): Promise<WrappingKeys> {
  const { KMSClient, EncryptCommand, DecryptCommand } = await import('@aws-sdk/client-kms')
  const client = new KMSClient({
    region: kmsKeyArn.exec(options.key_arn)![1]!,
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    maxAttempts: attemptsMax,
    requestHandler: {
      connectionTimeout: options.deadline_ms / attemptsMax,
      requestTimeout: options.deadline_ms / attemptsMax,
      throwOnRequestTimeout: true,
    },
  })
  const known = new Set([options.key_arn, ...options.previous_key_arns])
  const bounds = () => ({ abortSignal: AbortSignal.timeout(options.deadline_ms) })

  async function encrypt(plaintext: Buffer, context: KeyContext) {
    const command = new EncryptCommand({
      KeyId: options.key_arn,
      Plaintext: plaintext,
      EncryptionContext: contextOf(context),
    })
    const answer = await client.send(command, bounds()).catch(understood)
    return { wrapped_key: Buffer.from(answer.CiphertextBlob!), wrapping_key_id: provider + answer.KeyId }
  }

  return {
    wrap: encrypt,
    async unwrap({ wrapped_key, wrapping_key_id }, context) {
      const arn = wrapping_key_id.slice(provider.length)
      // Whoever may write rows could else have a key of their own used.
      if (!known.has(arn)) throw new WrongKey(`${arn} is none of this vault's keys`)
      const command = new DecryptCommand({
        KeyId: arn,
        CiphertextBlob: wrapped_key,
        EncryptionContext: contextOf(context),
      })
      const { Plaintext } = await client.send(command, bounds()).catch(understood)
      return Buffer.from(Plaintext!.buffer, Plaintext!.byteOffset, Plaintext!.byteLength)
    },
    async currentId() {
      const probe = { purpose: 'data key', merchant_id: '', key_id: 'probe' } as const
      return (await encrypt(Buffer.alloc(32), probe)).wrapping_key_id
    },
    close: () => client.destroy(),
  }
}

const contextOf = ({ purpose, merchant_id, key_id }: KeyContext) => ({
  purpose,
  key_id,
  // KMS takes no empty value.
  ...(merchant_id === '' ? {} : { merchant_id }),
})

function understood(error: unknown): never {
  const { name } = error as Error
  if (wrongNames.has(name)) throw new WrongKey('AWS KMS does not open it', error)
  if (deniedNames.has(name)) throw new ProviderDenied(`AWS KMS refuses: ${name}`, error)
  throw error
}
