/**
 * Named places where a crash test can end the process, so that every moment before and after an effect is
 * tried with a real SIGKILL. Nothing is armed unless COFFER_FAILPOINT names a place, which only the sandbox
 * accepts; unarmed, a failpoint is one comparison.
 */
export const failpoints = [
  'vault.cards.before_commit',
  'vault.cards.after_commit',
  'vault.forward.before_record',
  'vault.forward.after_record',
  'vault.forward.after_answer',
  'vault.forward.after_result',
  'vault.outbox.before_acknowledge',
  'vault.outbox.after_acknowledge',
  'platform.payments.before_intent',
  'platform.payments.after_intent',
  'platform.attempt.before_step',
  'platform.attempt.after_step_answer',
  'platform.attempt.after_step_saved',
  'platform.attempt.before_settle',
  'platform.attempt.after_settle',
  'platform.resolver.after_claim',
  'platform.resolver.before_settle',
  'platform.sequencer.before_append',
  'platform.sequencer.after_append',
] as const
export type Failpoint = (typeof failpoints)[number]

let armed: string | undefined

/** @throws RangeError for a name that does not exist. */
export function armFailpoint(name: string | undefined): void {
  if (name !== undefined && !(failpoints as readonly string[]).includes(name))
    throw new RangeError(`there is no failpoint '${name}'; there are: ${failpoints.join(', ')}`)
  armed = name
}

/** Ends the process by SIGKILL, at once, if this place is armed. */
export function failpoint(name: Failpoint): void {
  if (armed === name) process.kill(process.pid, 'SIGKILL')
}
