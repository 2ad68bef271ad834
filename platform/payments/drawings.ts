/** The tables of what may follow what, as the drawings in docs/payments.md. */
import { operationTransitions } from '../operations/machine.ts'
import { attemptTransitions, paymentTransitions } from './machine.ts'

/** Said at an arrow where its two ends do not say it. */
const words: Record<string, Record<string, string>> = {
  payments: {
    '[*] processing': 'intent committed',
    'processing captured': 'approved, capture automatic',
    'processing authorized': 'approved, capture manual',
    'processing verified': 'approved, amount 0',
    'processing canceled': 'canceled while it waited for its retry',
    'processing declined': 'issuer or PSP refused',
    'processing failed': 'provably nothing moved',
    'processing requires_action': 'the cardholder has to act',
    'processing unknown': 'no certain answer',
    'unknown processing': 'the PSP says pending, or it has failed and is tried again',
    'authorized captured': 'captured, in whole or in part',
    'authorized canceled': 'let go of',
  },
  attempts: {
    '[*] sending': 'intent committed',
    'sending rejected': 'the PSP did not accept the request',
    'sending not_sent': 'provably nothing was sent that moves money',
  },
  operations: {
    '[*] sending': 'intent committed, amount reserved',
    'sending failed': 'provably nothing moved; the amount is free again',
    'sending pending': 'the PSP has taken it',
    'sending unknown': 'no certain answer',
  },
}

const tables: Record<string, Record<string, readonly string[]>> = {
  payments: paymentTransitions,
  attempts: attemptTransitions,
  operations: operationTransitions,
}

export const drawn = Object.keys(tables)

/** One arrow a line: in at the first state of the table, out of each that nothing follows. */
export function drawingOf(name: string): string {
  const table = tables[name]!
  const arrow = (from: string, to: string) => {
    const why = words[name]?.[`${from} ${to}`]
    return `  ${from} --> ${to}${why === undefined ? '' : `: ${why}`}`
  }
  const lines = Object.entries(table).flatMap(([from, following]) =>
    following.length === 0 ? [arrow(from, '[*]')] : following.map((to) => arrow(from, to)),
  )
  return ['```mermaid', 'stateDiagram-v2', arrow('[*]', Object.keys(table)[0]!), ...lines, '```'].join('\n')
}

const placeOf = (name: string) =>
  new RegExp(`(<!-- drawn from the table of ${name} -->\n)[^]*?\`\`\`\n?(?=\n)`)

/** The text with each drawing as its table says. @throws Error where there is no place for one. */
export function withDrawings(text: string): string {
  return drawn.reduce((drawing, name) => {
    if (!placeOf(name).test(drawing)) throw new Error(`there is no place for the drawing of ${name}`)
    return drawing.replace(placeOf(name), (_found, mark: string) => `${mark}${drawingOf(name)}\n`)
  }, text)
}
