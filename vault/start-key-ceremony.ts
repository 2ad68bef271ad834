/** For the command that makes a wrapping key in shares: the only thing of the vault it needs. */
export { splitNewKey } from './keys/shares.ts'
