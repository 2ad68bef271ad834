/**
 * A guard against card testing: thieves try stolen numbers through a merchant, one after another, and most are
 * declined. Counted per merchant, API key and source address, in this process alone, over windows of ten minutes:
 * where very many different cards were declined and hardly one approved, customer-initiated payments are refused
 * until the window ends. Payments a merchant starts by itself, such as a month's renewals, are neither counted nor
 * refused.
 */
import { Failure } from '@coffer/core/errors.ts'
import type { Clock } from '@coffer/core/time.ts'

export type Subject = { kind: 'merchant' | 'api_key' | 'source_address'; value: string }

export type Suspicion = { subject: Subject; declined_cards: number; approvals: number; until: Date }

export type CardTestingGuard = {
  /** @throws Failure card_testing_suspected while one of the subjects is under suspicion. */
  admit(subjects: readonly Subject[]): void
  /** Takes note of how a payment ended. Gives the suspicion where this one has just raised it. */
  observe(subjects: readonly Subject[], cardId: string, approved: boolean): Suspicion | undefined
}

const windowMs = 10 * 60_000
/** The share of outcomes that must be declines: an honest shop's is far below, a tester's close to one. */
const declineShareMin = 0.8
const subjectsMax = 10_000

type Window = {
  started_ms: number
  declined_cards: Set<string>
  declines: number
  approvals: number
  suspected: boolean
}

/** @param declinedCardsMax different cards declined within a window before there is a suspicion; 0 is never. */
export function createCardTestingGuard(declinedCardsMax: number, clock: Clock): CardTestingGuard {
  const windows = new Map<string, Window>()

  function windowOf({ kind, value }: Subject, nowMs: number): Window | undefined {
    const window = windows.get(`${kind} ${value}`)
    return window !== undefined && nowMs - window.started_ms < windowMs ? window : undefined
  }

  function openWindow({ kind, value }: Subject, nowMs: number): Window {
    const name = `${kind} ${value}`
    // Last in order, so that the first to go is the one opened longest ago.
    windows.delete(name)
    if (windows.size >= subjectsMax) windows.delete(windows.keys().next().value!)
    const opened = {
      started_ms: nowMs,
      declined_cards: new Set<string>(),
      declines: 0,
      approvals: 0,
      suspected: false,
    }
    windows.set(name, opened)
    return opened
  }

  return {
    admit(subjects) {
      if (declinedCardsMax === 0) return
      const nowMs = clock.now().getTime()
      for (const subject of subjects) {
        const window = windowOf(subject, nowMs)
        if (window?.suspected)
          throw new Failure('card_testing_suspected', {
            retryAfterSeconds: Math.ceil((window.started_ms + windowMs - nowMs) / 1_000),
          })
      }
    },
    observe(subjects, cardId, approved) {
      if (declinedCardsMax === 0) return undefined
      const nowMs = clock.now().getTime()
      let raised: Suspicion | undefined
      for (const subject of subjects) {
        const window = windowOf(subject, nowMs) ?? openWindow(subject, nowMs)
        if (approved) window.approvals++
        else {
          window.declines++
          if (window.declined_cards.size < declinedCardsMax) window.declined_cards.add(cardId)
        }
        if (window.suspected || window.declined_cards.size < declinedCardsMax) continue
        if (window.declines < declineShareMin * (window.declines + window.approvals)) continue
        window.suspected = true
        raised ??= {
          subject,
          declined_cards: window.declined_cards.size,
          approvals: window.approvals,
          until: new Date(window.started_ms + windowMs),
        }
      }
      return raised
    },
  }
}
