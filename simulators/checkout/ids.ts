/** Ids in Checkout.com's form: 26 characters of base 32. */
import { lowerCase, randomText } from '../random-text.ts'

const characters = `${lowerCase}234567`

export const newId = (prefix: 'pay' | 'act' | 'evt' | 'dsp' | 'req') =>
  `${prefix}_${randomText(26, characters)}`
