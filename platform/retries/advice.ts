/**
 * What to do after a decline, from everything that was said: the network's advice before the PSP's, the PSP's before
 * the bare response code. Nothing turns a stop into another try.
 */
import type { Decline, DeclineAction, Outcome } from '@coffer/core/connector.ts'
import {
  type Advice,
  actionByResponseCode,
  isSecurityDecline,
  mastercardAdvice,
  type VisaCategory,
  visaCategoryOf,
} from './rules.ts'

/** Whose word the action is. The PSP's own advice and code are one: its connector has weighed them. */
export const adviceSources = ['network_advice', 'network_code', 'psp'] as const

export type AdvisedDecline = Decline & {
  source: (typeof adviceSources)[number]
  /** Visa's category, 1 to 4; null for other networks, or where no code of the network came. */
  network_category: VisaCategory | null
  /** Not before then, where somebody said so. RFC 3339. */
  retry_after: string | null
}

/** The certainty that nothing was sent that can move money. */
export type NotSent = {
  kind: 'not_sent'
  message: string
  /** `psp_unavailable`: the PSP could not be reached, or failed before the step that moves money. `card_changed`: the
   * card has another number than the one that the PSP holds and was about to charge. */
  code?: 'cvc_unavailable' | 'psp_unavailable' | 'card_changed'
}

/** How an attempt ended: a PSP's outcome, with our advice on a decline, or without anything sent. */
export type Ending =
  | Exclude<Outcome, { kind: 'declined' }>
  | { kind: 'declined'; decline: AdvisedDecline; psp_reference: string | null }
  | NotSent

const stops: readonly DeclineAction[] = ['stop_card', 'stop_agreement', 'stop_fraud']
const isStop = (action: DeclineAction) => stops.includes(action)
const isTry = (action: DeclineAction) => action === 'retry_now' || action === 'retry_later'

/** `brand` is the card's; null where it is not known, and then no network's advice can be read. */
export function endingOf(outcome: Outcome | NotSent, brand: string | null, now: Date): Ending {
  return outcome.kind === 'declined'
    ? { ...outcome, decline: adviseOn(outcome.decline, brand, now) }
    : outcome
}

export function adviseOn(decline: Decline, brand: string | null, now: Date): AdvisedDecline {
  const { network_decline_code: code, network_advice_code: adviceCode } = decline
  const network_category = brand === 'visa' ? visaCategoryOf(code, adviceCode) : null
  const advice = brand === 'mastercard' ? mastercardAdviceOf(adviceCode) : undefined
  const { action, source } = chooseAction(decline, advice, network_category)
  const waits = isTry(action) && advice?.wait_seconds !== undefined
  return {
    ...decline,
    action,
    source,
    network_category,
    retry_after: waits ? new Date(now.getTime() + advice.wait_seconds! * 1_000).toISOString() : null,
  }
}

export function mastercardAdviceOf(adviceCode: string | null): Advice | undefined {
  return adviceCode !== null && Object.hasOwn(mastercardAdvice, adviceCode)
    ? mastercardAdvice[adviceCode]
    : undefined
}

function chooseAction(
  decline: Decline,
  advice: Advice | undefined,
  category: VisaCategory | null,
): Pick<AdvisedDecline, 'action' | 'source'> {
  const { action: told, network_decline_code: code } = decline
  const psp = { action: told, source: 'psp' as const }
  if (advice !== undefined) {
    const advised = (isSecurityDecline(code) && advice.action_if_security) || advice.action
    // A lost card of which the issuer has a new number is to be updated; any other stop stays one.
    return isStop(told) && !isStop(advised) && advised !== 'update_credentials'
      ? psp
      : { action: advised, source: 'network_advice' }
  }
  const coded = code === null ? undefined : actionByResponseCode.get(code)
  if (category === 1 && isTry(told)) return { action: stopOf(coded), source: 'network_code' }
  const saysNothing = decline.reason === 'generic_decline' && isTry(told)
  const says = coded !== undefined && !isTry(coded) && (saysNothing || (isStop(coded) && isTry(told)))
  return says ? { action: coded, source: 'network_code' } : psp
}

/** What a code of Visa's first category means, which is never another try. */
function stopOf(coded: DeclineAction | undefined): DeclineAction {
  return coded === undefined || isTry(coded) ? 'stop_card' : coded
}
