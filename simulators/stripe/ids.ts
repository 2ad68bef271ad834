/** Ids in Stripe's form. */
import { digits, lowerCase, randomText, upperCase } from '../random-text.ts'

const characters = digits + upperCase + lowerCase

export const newId = (prefix: 'pm' | 'pi' | 'seti' | 'ch' | 're' | 'cus' | 'req' | 'evt' | 'dp') =>
  `${prefix}_${randomText(24, characters)}`

export const newSecret = () => randomText(24, characters)
