/**
 * A wrapping key that is in nobody's hands: its custodians give a share each, and from the last one that is needed until
 * the process ends it is in this memory. Before that the vault is sealed.
 */
import type { KeyObject } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import { gauge } from '@coffer/core/metrics.ts'
import { aesUnwrap, aesWrap } from './aes-wrapping.ts'
import { combineShares, type Share } from './shares.ts'
import { type WrappingKeys, WrongKey } from './wrapping-keys.ts'

/** How far the key that is being put together is. */
export type Gathering = { key_id: string; shares_given: number; shares_needed: number | null }

export type ShamirKeys = WrappingKeys & {
  /** The keys whose shares are taken: the one that wraps, then those it followed. */
  readonly keyIds: readonly string[]
  /**
   * Takes a share from a custodian. The same share again counts once, whoever gives it.
   * @throws Failure share_invalid, or share_needs_another_person where they gave another share before.
   */
  give(share: Share, custodian: string): Promise<Gathering>
  gathering(keyId: string): Gathering
}

/** Shares that were given are forgotten where the others do not follow within this time. */
const gatheringMs = 15 * 60_000
const provider = 'shamir:'

let isSealed = () => false
gauge(
  'coffer_vault_sealed',
  '1 while the custodians have not given their shares of the wrapping key, else 0.',
  [],
  (sealed) => sealed.set(isSealed() ? 1 : 0),
)

export function createShamirKeys(keyId: string, previousKeyIds: readonly string[]): ShamirKeys {
  const keyIds = [keyId, ...previousKeyIds]
  const keys = new Map<string, KeyObject>()
  const given = new Map<string, { byCustodian: Map<string, Share>; since_ms: number }>()
  isSealed = () => !keys.has(keyId)

  function keyOf(id: string): KeyObject {
    const key = keys.get(id)
    if (key !== undefined) return key
    if (keyIds.includes(id)) throw new Failure('vault_sealed')
    throw new WrongKey(`${provider}${id} is none of this vault's keys`)
  }

  function forget(id: string): void {
    for (const share of given.get(id)?.byCustodian.values() ?? []) share.bytes.fill(0)
    given.delete(id)
  }

  function sharesOf(id: string): Map<string, Share> {
    const gathered = given.get(id)
    if (gathered !== undefined && performance.now() - gathered.since_ms < gatheringMs)
      return gathered.byCustodian
    forget(id)
    const byCustodian = new Map<string, Share>()
    given.set(id, { byCustodian, since_ms: performance.now() })
    return byCustodian
  }

  function gathering(id: string): Gathering {
    const shares = [...(given.get(id)?.byCustodian.values() ?? [])]
    return {
      key_id: id,
      shares_given: shares.length,
      shares_needed: shares[0] === undefined ? null : shares[0].threshold,
    }
  }

  return {
    keyIds,
    gathering,
    async give(share, custodian) {
      const { key_id, threshold } = share
      if (!keyIds.includes(key_id))
        throw new Failure('share_invalid', { param: 'share', detail: 'It is a share of another key.' })
      if (keys.has(key_id)) return gathering(key_id)
      const shares = sharesOf(key_id)
      if ([...shares.values()].some(({ bytes }) => bytes.equals(share.bytes))) return gathering(key_id)
      if (shares.has(custodian)) throw new Failure('share_needs_another_person', { param: 'share' })
      const place = share.bytes.at(-1)
      if ([...shares.values()].some((other) => other.bytes.at(-1) === place || other.threshold !== threshold))
        throw new Failure('share_invalid', { param: 'share', detail: 'It does not belong to the others.' })
      shares.set(custodian, share)
      if (shares.size < threshold) return gathering(key_id)
      const complete = gathering(key_id)
      const key = await combineShares([...shares.values()])
      forget(key_id)
      if (key === undefined)
        throw new Failure('share_invalid', {
          param: 'share',
          detail: 'The shares do not make the key: all of them have to be given again.',
        })
      keys.set(key_id, key)
      return complete
    },
    async wrap(key, context) {
      return { wrapped_key: aesWrap(keyOf(keyId), key, context), wrapping_key_id: provider + keyId }
    },
    async unwrap({ wrapped_key, wrapping_key_id }, context) {
      return aesUnwrap(keyOf(wrapping_key_id.slice(provider.length)), wrapped_key, context)
    },
    isSealed: () => !keys.has(keyId),
    async currentId() {
      keyOf(keyId)
      return provider + keyId
    },
    close() {
      for (const id of keyIds) forget(id)
      keys.clear()
    },
  }
}
