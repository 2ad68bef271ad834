/**
 * Adyen's refusal reasons: the holder's name that asks for each in its test environment, and an issuer's answer behind
 * it.
 */

export type Refusal = {
  /** `refusalReasonCode`. */
  code: string
  refusalReason: string
  resultCode: 'Refused' | 'Error' | 'Cancelled'
  refusalReasonRaw: string
  /** Mastercard's, where its issuer gives advice. */
  merchantAdviceCode?: string
}

/** Code, the name that asks for it, its text, and the issuer's answer where it names one closer than `05`. */
const rows: [code: number, trigger: string, refusalReason: string, raw?: string][] = [
  [2, 'DECLINED', 'Refused'],
  [3, 'REFERRAL', 'Referral', '01 : Refer to card issuer'],
  [4, 'ERROR', 'Acquirer Error', '96 : System malfunction'],
  [5, 'BLOCK_CARD', 'Blocked Card', '62 : Restricted card'],
  [6, 'CARD_EXPIRED', 'Expired Card', '54 : Expired card'],
  [7, 'INVALID_AMOUNT', 'Invalid Amount', '13 : Invalid amount'],
  [8, 'INVALID_CARD_NUMBER', 'Invalid Card Number', '14 : Invalid card number'],
  [9, 'ISSUER_UNAVAILABLE', 'Issuer Unavailable', '91 : Issuer unavailable'],
  [10, 'NOT_SUPPORTED', 'Not supported', '57 : Transaction not permitted to cardholder'],
  [11, 'NOT_3D_AUTHENTICATED', '3D Not Authenticated'],
  [12, 'NOT_ENOUGH_BALANCE', 'Not enough balance', '51 : Insufficient funds'],
  [14, 'ACQUIRER_FRAUD', 'Acquirer Fraud', '59 : Suspected fraud'],
  [15, 'CANCELLED', 'Cancelled'],
  [16, 'SHOPPER_CANCELLED', 'Shopper Cancelled'],
  [17, 'INVALID_PIN', 'Invalid Pin', '55 : Incorrect PIN'],
  [18, 'PIN_TRIES_EXCEEDED', 'Pin tries exceeded', '75 : PIN tries exceeded'],
  [19, 'PIN_VALIDATION_NOT_POSSIBLE', 'Pin validation not possible'],
  [20, 'FRAUD', 'FRAUD', '59 : Suspected fraud'],
  [21, 'NOT_SUBMITTED', 'Not Submitted'],
  [22, 'FRAUD_CANCELLED', 'FRAUD-CANCELLED', '59 : Suspected fraud'],
  [
    23,
    'TRANSACTION_NOT_PERMITTED',
    'Transaction Not Permitted',
    '57 : Transaction not permitted to cardholder',
  ],
  [24, 'CVC_DECLINED', 'CVC Declined', 'N7 : CVC mismatch'],
  [25, 'RESTRICTED_CARD', 'Restricted Card', '62 : Restricted card'],
  [26, 'REVOCATION_OF_AUTH', 'Revocation Of Auth', 'R1 : Revocation of authorization'],
  [27, 'DECLINED_NON_GENERIC', 'Declined Non Generic'],
  [28, 'WITHDRAWAL_AMOUNT_EXCEEDED', 'Withdrawal amount exceeded', '61 : Exceeds amount limit'],
  [29, 'WITHDRAWAL_COUNT_EXCEEDED', 'Withdrawal count exceeded', '65 : Exceeds count limit'],
  [31, 'ISSUER_SUSPECTED_FRAUD', 'Issuer Suspected Fraud', '59 : Suspected fraud'],
  [32, 'AVS_DECLINED', 'AVS Declined'],
  [33, 'PIN_REQUIRED', 'Card requires online pin'],
  [34, 'NO_CHECKING_ACCOUNT', 'No checking account available on Card', '52 : No checking account'],
  [35, 'NO_SAVINGS_ACCOUNT', 'No savings account available on Card', '53 : No savings account'],
  [36, 'MOBILE_PIN_REQUIRED', 'Mobile pin required'],
  [37, 'CONTACTLESS_FALLBACK', 'Contactless fallback'],
  [38, 'AUTHENTICATION_REQUIRED', 'Authentication required', '1A : Authentication required'],
  [39, 'RREQ_NOT_RECEIVED', 'RReq not received from DS'],
  [40, 'BAN_CURRENT_AID', 'Current AID is in Penalty Box'],
  [41, 'CVM_REQUIRED', 'CVM Required Restart Payment'],
  [42, 'THREED_SECURE_ERROR', '3DS Authentication Error'],
  [46, 'ERPS_BLOCK', 'Transaction blocked by Adyen to prevent excessive retry fees'],
]

const advice: Record<number, string> = {
  ...{ 5: '03 : Do not try again', 25: '03 : Do not try again' },
  ...{ 6: '01 : New account information available', 8: '01 : New account information available' },
  ...{ 9: '02 : Try again later', 12: '24 : Retry after 1 hour' },
}

const resultCodes: Record<number, Refusal['resultCode']> = { 4: 'Error', 15: 'Cancelled', 16: 'Cancelled' }

const refusals = new Map(
  rows.map(([code, , refusalReason, raw]): [string, Refusal] => [
    String(code),
    {
      code: String(code),
      refusalReason,
      resultCode: resultCodes[code] ?? 'Refused',
      refusalReasonRaw: raw ?? '05 : Do not honor',
      ...(advice[code] === undefined ? {} : { merchantAdviceCode: advice[code] }),
    },
  ]),
)

const codesByTrigger = new Map(rows.map(([code, trigger]) => [trigger, String(code)]))

export const refusalCodes: ReadonlySet<string> = new Set(refusals.keys())

/** The refusal that a holder's name asks for. */
export const triggeredBy = (holderName: string): string | null => codesByTrigger.get(holderName) ?? null

export const refusalOf = (code: string): Refusal => refusals.get(code) ?? refusals.get('2')!
