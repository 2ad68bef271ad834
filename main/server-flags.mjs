/** Without these a live role refuses to start. */
export const hardening_flags = [
  '--disable-proto=delete', // no prototype pollution by way of `__proto__`
  '--disable-sigusr1', // no debugger for whoever can send a signal
  '--no-addons', // no native code loaded into a process that holds card numbers
]

/** Node flags of the server. The development tools run without any. */
export const server_flags = [
  ...hardening_flags,
  '--max-semi-space-size=16', // MB: larger collects less often, but its pauses show in the slowest percent
  '--max-old-space-size=1024', // MB: below it the collector runs so often that a payment costs twice as much
  '--heap-growing-percent=170', // a full collection, for which everything waits, comes seldom
  '--no-parallel-scavenge', // on two processors its helpers take from PostgreSQL what they save here
]
