/** What Adyen calls things. */
import { digits, lowerCase, randomText, upperCase } from '../random-text.ts'

/** 16 characters. Letters lead, so that none of it looks like a card number. */
export const newPspReference = () => randomText(4, upperCase) + randomText(12, digits + upperCase)

/** Mastercard's Transaction Link Id. */
export const newTransactionLinkId = () => randomText(22, `${digits}${lowerCase}${upperCase}_-`)
