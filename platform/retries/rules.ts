/**
 * What the card networks say about trying a declined charge again, as data. Each table names where it is from and
 * when it was read; a network that changes its mind changes a row here and nothing else.
 */
import type { DeclineAction } from '@coffer/core/connector.ts'

/** When the tables below were last held against their sources. */
export const rulesDated = '2026-11-22'

const hourSeconds = 3_600
const daySeconds = 24 * hourSeconds

/** How many declined attempts a network allows of one card at one merchant within a time that moves along. */
export type Limit = { rule: string; declines_max: number; window_seconds: number }

/**
 * Visa: bulletin AI10325, in force since 2021-04-17, as restated by acquirers; one source of March 2026 says 20.
 * Mastercard: excessive attempts, restated by acquirers (10 in 24 hours) and by a PSP (35 in 30 days).
 * A network that publishes none has the lowest of these, as a rule of our own.
 */
export const limits: Record<'visa' | 'mastercard' | 'other', readonly Limit[]> = {
  visa: [{ rule: 'visa.15_in_30_days', declines_max: 15, window_seconds: 30 * daySeconds }],
  mastercard: [
    { rule: 'mastercard.10_in_24_hours', declines_max: 10, window_seconds: daySeconds },
    { rule: 'mastercard.35_in_30_days', declines_max: 35, window_seconds: 30 * daySeconds },
  ],
  other: [
    { rule: 'other.10_in_24_hours', declines_max: 10, window_seconds: daySeconds },
    { rule: 'other.15_in_30_days', declines_max: 15, window_seconds: 30 * daySeconds },
  ],
}

export function limitsOf(brand: string): readonly Limit[] {
  return brand === 'visa' || brand === 'mastercard' ? limits[brand] : limits.other
}

/** For how long a charge of the same amount is refused after Mastercard's advice codes 03 and 21. */
export const sameAmountSeconds = 30 * daySeconds

/** The longest time anything is counted for. */
export const longestWindowSeconds = 30 * daySeconds

/**
 * Visa's categories: 1 never again with the same card number, 2 the issuer cannot approve now, 3 the data are to be
 * corrected first. Any other code is of category 4. 14 is in 1 and in 3, and 1 is the stricter.
 * Source: AI10325 names the categories and that 03, 62, 78 and 93 are in the second; the lists are acquirers'.
 */
const visaCategories: [category: 1 | 2 | 3, codes: string][] = [
  [1, '04 07 12 14 15 41 43 46 57 R0 R1 R3'],
  [2, '03 19 51 59 61 62 65 75 78 86 91 93 96 N3 N4'],
  [3, '54 55 70 82 1A 6P N7'],
]
const visaCategoryByCode = new Map(
  visaCategories.flatMap(([category, codes]) => codes.split(' ').map((code) => [code, category] as const)),
)

export type VisaCategory = 1 | 2 | 3 | 4

/** What Visa's own advice says, where the PSP hands it on as `01` to `04`, else what its response code is in. */
export function visaCategoryOf(responseCode: string | null, adviceCode: string | null): VisaCategory | null {
  const advised = /^0?([1-4])$/.exec(adviceCode ?? '')?.[1]
  if (advised !== undefined) return Number(advised) as VisaCategory
  return responseCode === null ? null : (visaCategoryByCode.get(responseCode) ?? 4)
}

/**
 * What a response code says by itself, in the networks' shared vocabulary (ISO 8583, field 39). A code that is not
 * here says nothing.
 */
const actionRows: [DeclineAction, codes: string][] = [
  ['stop_card', '04 12 41 43 57'],
  ['stop_fraud', '07 59 63'],
  ['stop_agreement', 'R0 R1 R3'],
  ['update_credentials', '14 15 46 54'],
  ['fix_data', '13 55 82 6P N7'],
  ['authenticate', '1A 70'],
  ['config_error', '03'],
  ['retry_later', '05 19 51 61 62 65 75 78 86 91 93 96 N3 N4'],
]
export const actionByResponseCode: ReadonlyMap<string, DeclineAction> = new Map(
  actionRows.flatMap(([action, codes]) => codes.split(' ').map((code) => [code, action] as const)),
)

/** What kind of refusal Mastercard means: by 79, 82 or 83 themselves, or by the codes these stand for. */
const mastercardKinds: [kind: 'life_cycle' | 'policy' | 'security', codes: string][] = [
  ['life_cycle', '79 14 54'],
  ['policy', '82 03 13 57 61 62 65'],
  ['security', '83 41 43 55 63'],
]

export function isSecurityDecline(responseCode: string | null): boolean {
  const [, codes] = mastercardKinds.find(([kind]) => kind === 'security')!
  return responseCode !== null && codes.split(' ').includes(responseCode)
}

export type Advice = {
  action: DeclineAction
  /** In its place where the refusal is about security. */
  action_if_security?: DeclineAction
  /** How long to wait, where that is said. */
  wait_seconds?: number
  /** The network charges for another try before that time. */
  is_wait_enforced?: boolean
  /** The network charges for the same amount again within 30 days. */
  forbids_same_amount?: boolean
}

const waitFor = (wait_seconds: number): Advice => ({
  action: 'retry_later',
  wait_seconds,
  is_wait_enforced: true,
})

/**
 * Mastercard's merchant advice codes. Source: the public lists of several PSPs and acquirers; 24 to 30 come with
 * response code 51. 02 has no time of its own: 72 hours is what PSPs advise.
 */
export const mastercardAdvice: Readonly<Record<string, Advice>> = {
  '01': { action: 'update_credentials', action_if_security: 'authenticate' },
  '02': { action: 'retry_later', wait_seconds: 3 * daySeconds },
  '03': { action: 'stop_card', action_if_security: 'stop_fraud', forbids_same_amount: true },
  '04': { action: 'fix_data' },
  '05': { action: 'fix_data' },
  '21': { action: 'stop_agreement', forbids_same_amount: true },
  '22': { action: 'config_error' },
  '24': waitFor(hourSeconds),
  '25': waitFor(daySeconds),
  '26': waitFor(2 * daySeconds),
  '27': waitFor(4 * daySeconds),
  '28': waitFor(6 * daySeconds),
  '29': waitFor(8 * daySeconds),
  '30': waitFor(10 * daySeconds),
  '40': { action: 'update_credentials' },
  '41': { action: 'update_credentials' },
  '42': { action: 'stop_fraud' },
  '43': { action: 'update_credentials' },
}
