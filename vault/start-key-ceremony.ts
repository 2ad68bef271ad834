/** For the command that makes a wrapping key in shares. */
import { splitNewKey } from './keys/shares.ts'

/** What to print, once: the key's id, for the settings, and a share for each custodian. */
export async function startKeyCeremony(options: {
  shares: number
  threshold: number
}): Promise<{ settings: string; shares: string[] }> {
  const { key_id, shares } = await splitNewKey(options.shares, options.threshold)
  return { settings: `VAULT_KEY_PROVIDER=shamir\nVAULT_SHAMIR_KEY_ID=${key_id}\n`, shares }
}
