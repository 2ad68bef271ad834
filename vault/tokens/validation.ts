/** What a token must be before it is kept. Each failure names its parameter and never the value. */
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { brandOfCardNumber } from '../cards/brands.ts'
import { electronicIban, isIban, isRoutingNumber } from './bank-accounts.ts'
import type { NewToken, TokenData } from './schemas.ts'

type Field = keyof TokenData
type Form = { needed: readonly Field[]; optional: readonly Field[] }

const aboutHolder: readonly Field[] = ['holder_name', 'account_type']
const text: Form = { needed: ['value'], optional: [] }
const iban: Form = { needed: ['iban'], optional: aboutHolder }
const unitedStates: Form = { needed: ['routing_number', 'account_number'], optional: aboutHolder }

/**
 * The data as they are kept: an IBAN in electronic form.
 * @throws Failure invalid_request, bank_account_invalid or card_number_in_wrong_field
 */
export function validateNewToken(token: NewToken): TokenData {
  checkForm(token.data, formOf(token))
  refuseCardNumberIn('data.value', token.data.value)
  refuseCardNumberIn('data.holder_name', token.data.holder_name)
  refuseCardNumberIn('customer', token.customer)
  for (const [name, value] of Object.entries(token.metadata ?? {})) {
    refuseCardNumberIn('metadata', name)
    refuseCardNumberIn('metadata', value)
  }
  return validBankAccount(token.data)
}

function formOf({ type, data }: NewToken): Form {
  if (type === 'text') return text
  return data.routing_number === undefined && data.account_number === undefined ? iban : unitedStates
}

/** @throws Failure invalid_request where a field is missing, or is there that does not belong to the others. */
function checkForm(data: TokenData, { needed, optional }: Form): void {
  const wrong = (name: Field, problem: string) =>
    new Failure('invalid_request', { param: `data.${name}`, detail: `data.${name} ${problem}.` })
  for (const name of Object.keys(data) as Field[])
    if (!needed.includes(name) && !optional.includes(name))
      throw wrong(name, 'does not belong to this type or beside the other fields')
  for (const name of needed) if (data[name] === undefined) throw wrong(name, 'is missing')
}

function validBankAccount(data: TokenData): TokenData {
  const { iban, routing_number, account_number } = data
  if (routing_number !== undefined && !isRoutingNumber(routing_number))
    throw new Failure('bank_account_invalid', { param: 'data.routing_number' })
  // An IBAN is told from a card number by its own check digits; an account number has none.
  if (account_number !== undefined && brandOfCardNumber(account_number) !== undefined)
    throw new Failure('card_number_in_wrong_field', { param: 'data.account_number' })
  if (iban === undefined) return data
  const kept = electronicIban(iban)
  if (!isIban(kept)) throw new Failure('bank_account_invalid', { param: 'data.iban' })
  return { ...data, iban: kept }
}
