/** A forward as its merchant sees it. */
import type { PassedOn } from './answer.ts'
import type { Exchanged } from './exchange.ts'
import type { ForwardEnd, ForwardRow } from './queries.ts'
import type { FailureCode, Forward } from './schemas.ts'

const messages: Record<FailureCode, string> = {
  not_reached: 'There was no connection to the destination. Nothing was sent.',
  no_answer: 'The request was sent, and no complete answer came. It may have been carried out.',
  answer_too_large: 'The answer was larger than 1 MiB.',
  answer_not_text: 'The answer was no text in UTF-8.',
  answer_withheld: 'The answer held what was filled in, in a form that cannot be masked.',
}

/** @param answer where this process has just got it: it is kept nowhere. */
export function forwardOf(row: ForwardRow, answer?: PassedOn): Forward {
  const failure = row.is_overdue ? 'no_answer' : row.failure_code
  return {
    id: row.forward_id,
    object: 'forward',
    outcome: outcomeOf(row),
    sent: row.state !== 'not_sent',
    card: row.card_id,
    card_version: row.card_version_id,
    token: row.token_id,
    destination: row.destination_id,
    method: row.method,
    url: row.url,
    status: row.answer_status,
    failure: failure === null ? null : { code: failure, message: messages[failure] },
    response: answer?.response ?? null,
    created_at: row.recorded_at.toISOString(),
    ended_at: row.ended_at?.toISOString() ?? null,
  }
}

function outcomeOf({ state, is_overdue }: ForwardRow): Forward['outcome'] {
  if (state === 'answered') return 'succeeded'
  if (state === 'not_sent') return 'failed'
  return state === 'unanswered' || is_overdue ? 'unknown' : 'running'
}

/** What is recorded of an exchange. */
export function endOf(
  exchanged: Exchanged,
  answer?: PassedOn,
): Pick<ForwardEnd, 'state' | 'answer_status' | 'failure_code'> {
  if (exchanged.kind === 'answered')
    return {
      state: 'answered',
      answer_status: exchanged.answer.status,
      failure_code: answer?.failure ?? null,
    }
  return exchanged.sent
    ? { state: 'unanswered', answer_status: null, failure_code: 'no_answer' }
    : { state: 'not_sent', answer_status: null, failure_code: 'not_reached' }
}
