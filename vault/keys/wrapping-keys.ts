/**
 * What stands above the data keys: a provider that wraps and unwraps them and never gives its own key away. Which
 * key wrapped something, and in which version, is named by an id that is kept beside the wrapped bytes.
 */

/** What a key is and whose: authenticated with it, so a wrapped key that was moved elsewhere does not unwrap. */
export type KeyContext = { purpose: 'data key' | 'fingerprint key'; merchant_id: string; key_id: string }

export type WrappedKey = {
  wrapped_key: Buffer
  /** `<provider>:<key and version>`. */
  wrapping_key_id: string
}

export type WrappingKeys = {
  /** Under the newest wrapping key. @throws Failure keys_unavailable or vault_sealed. */
  wrap(key: Buffer, context: KeyContext): Promise<WrappedKey>
  /**
   * @throws Failure keys_unavailable or vault_sealed where it cannot be had now; WrongKey where the bytes were
   * changed, belong to another context, or the wrapping key is none of ours.
   */
  unwrap(wrapped: WrappedKey, context: KeyContext): Promise<Buffer>
  /** The id a `wrap` would give now: what has another one is to be wrapped again. Fails as `wrap` does. */
  currentId(): Promise<string>
  /** Whether this is the check value of a key that it has: all that databases from before the ids tell of theirs. */
  hasKeyOf?(checkValue: Buffer): boolean
  /** While it is, nothing is opened, be it wrapped by another provider. */
  isSealed?(): boolean
  close?(): void
}

/** The bytes do not unwrap, however often it is tried. */
export class WrongKey extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'WrongKey'
  }
}

export const dataKeyContext = (merchantId: string, dataKeyId: string): KeyContext => ({
  purpose: 'data key',
  merchant_id: merchantId,
  key_id: dataKeyId,
})

export const fingerprintKeyContext = (version: number): KeyContext => ({
  purpose: 'fingerprint key',
  merchant_id: '',
  key_id: String(version),
})

/** The context as additional data, for providers that authenticate bytes. */
export const contextText = ({ purpose, merchant_id, key_id }: KeyContext) =>
  `${merchant_id}|${key_id}|${purpose}|1`
