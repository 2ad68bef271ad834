/**
 * The clock is passed in. Leases and due times use the database's clock instead, so that two hosts with
 * different clocks agree on them.
 */
export type Clock = { now(): Date }

export const systemClock: Clock = { now: () => new Date() }
