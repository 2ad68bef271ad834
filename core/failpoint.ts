/**
 * Named places where a crash test can end the process, so that every moment before and after an effect is
 * tried with a real SIGKILL. Nothing is armed unless COFFER_FAILPOINT names a place, which only the sandbox
 * accepts; unarmed, a failpoint is one comparison.
 */
export const failpoints = [
  'core.audit.before_seal',
  'core.audit.after_seal',
  'core.audit.after_checkpoint',
  'vault.cards.before_commit',
  'vault.cards.after_commit',
  'vault.card_changes.before_commit',
  'vault.card_changes.after_commit',
  'vault.tokens.before_commit',
  'vault.tokens.after_commit',
  'vault.forward.before_record',
  'vault.forward.after_record',
  'vault.forward.after_answer',
  'vault.forward.after_result',
  'vault.rotation.before_step',
  'vault.rotation.after_step',
  'vault.rotation.after_progress',
  'vault.outbox.before_acknowledge',
  'vault.outbox.after_acknowledge',
  'vault.import.after_check',
  'vault.import.before_chunk',
  'vault.import.after_chunk',
  'vault.import.before_end',
  'vault.export.after_part',
  'vault.export.before_end',
  'platform.payments.before_intent',
  'platform.payments.after_intent',
  'platform.attempt.before_step',
  'platform.attempt.after_step_answer',
  'platform.attempt.before_settle',
  'platform.attempt.after_settle',
  'platform.failover.before_next',
  'platform.failover.after_next',
  'platform.operation.before_intent',
  'platform.operation.after_intent',
  'platform.operation.before_send',
  'platform.operation.after_answer',
  'platform.operation.before_settle',
  'platform.operation.after_settle',
  'platform.resolver.after_claim',
  'platform.resolver.before_settle',
  'platform.resolver.before_operation',
  'platform.batch.after_rows',
  'platform.batch.before_whole',
  'platform.batch.after_whole',
  'platform.batch.after_begin',
  'platform.batch.after_charge',
  'platform.batch.after_mark',
  'platform.webhook.after_store',
  'platform.webhook.after_claim',
  'platform.webhook.after_settle',
  'platform.retry.after_claim',
  'platform.retry.before_next',
  'platform.retry.after_next',
  'platform.sequencer.before_append',
  'platform.sequencer.after_append',
] as const
export type Failpoint = (typeof failpoints)[number]

let armed: { name: string; hits_left: number } | undefined

/**
 * Arms a place by its name, or `<name>@<n>` for the nth time it is reached: steps of one operation pass the same
 * places one after another.
 * @throws RangeError for a name that does not exist.
 */
export function armFailpoint(place: string | undefined): void {
  armed = undefined
  if (place === undefined) return
  const [, name, count = '1'] = /^([a-z._]+)(?:@([1-9]\d{0,5}))?$/.exec(place) ?? []
  if (!(failpoints as readonly string[]).includes(name ?? ''))
    throw new RangeError(`there is no failpoint '${place}'; there are: ${failpoints.join(', ')}`)
  armed = { name: name!, hits_left: Number(count) }
}

/** Ends the process by SIGKILL, at once, if this place is armed and reached as often as asked for. */
export function failpoint(name: Failpoint): void {
  if (armed === undefined || armed.name !== name) return
  armed.hits_left--
  if (armed.hits_left === 0) process.kill(process.pid, 'SIGKILL')
}
