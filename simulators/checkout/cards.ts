/**
 * Checkout.com's published test cards, and what each does; every other valid number is a card that works.
 *
 * Source: checkout.com/docs/developer-resources/testing/test-cards
 */

/** What a card does: `ok`, the response code of its declines, or `no_capture`: its captures and voids are refused. */
export type Scenario = string

const scenarios = new Map<string, Scenario>([
  ['4111111111111129', '20001'],
  ['4024007103573027', '20012'],
  ['4485381577182090', '20014'],
  ['4544249167673670', '20051'],
  ['4151512736305999', '20057'],
  ['4897453568485113', '20059'],
  ['4556294593757189', '20061'],
  ['4818924250131070', '20062'],
  ['4556253752712245', '20063'],
  ['4095254802642505', '20068'],
  ['4500622868341387', '20154'],
  ['4276038578596818', '2005C'],
  ['4152812521833588', '2009G'],
  ['4734868958733862', '200N7'],
  ['4024007162185267', '30015'],
  ['4941202060999329', '30041'],
  ['4539253655711767', '30043'],
  ['4273149019799094', 'no_capture'],
])

export const scenarioOf = (number: string): Scenario => scenarios.get(number) ?? 'ok'

/** The default card refuses one amount, so that a decline needs no other card. */
export const isRefusedAmount = (number: string, amount: number): boolean =>
  number === '4242424242424242' && amount === 101

const summaries: Record<string, string> = {
  '10000': 'Approved',
  '20001': 'Refer to card issuer',
  '20005': 'Declined - Do not honour',
  '20012': 'Invalid transaction',
  '20014': 'Invalid account number',
  '20051': 'Insufficient funds',
  '20054': 'Expired card',
  '20057': 'Transaction not permitted to cardholder',
  '20059': 'Suspected fraud',
  '20061': 'Activity amount limit exceeded',
  '20062': 'Restricted card',
  '20063': 'Security violation',
  '20065': 'Exceeds withdrawal frequency limit',
  '20068': 'Response received too late / timeout',
  '20087': 'Bad track data',
  '20091': 'Issuer unavailable or switch is inoperative',
  '20096': 'System malfunction',
  '20105': 'Gateway reject - violation',
  '20154': '3DS authentication required',
  '20179': 'Lifecycle',
  '20182': 'Policy',
  '20183': 'Security',
  '2005C': 'Form of payment not supported by issuer',
  '2009G': 'Blocked by cardholder or contact cardholder',
  '200N7': 'Decline for CVV2 failure',
  '200R1': 'Issuer initiated a stop payment (revocation order) for this authorization',
  '200R3': 'Issuer initiated a stop payment (revocation order) for all authorizations',
  '30004': 'Pick up card (no fraud)',
  '30015': 'No such issuer',
  '30041': 'Lost card - pick up',
  '30043': 'Stolen card - pick up',
  '40101': 'Risk blocked transaction',
}

export const declineCodes: ReadonlySet<string> = new Set(
  Object.keys(summaries).filter((code) => code !== '10000'),
)

export const summaryOf = (response_code: string): string => summaries[response_code] ?? 'Declined'

/** What the issuer itself answered, where Checkout.com's code is made from it; undefined elsewhere. */
export const issuerCodeOf = (response_code: string): string | undefined =>
  /^(?:200|300|201)([0-9A-Z]{2})$/.exec(response_code)?.[1]
