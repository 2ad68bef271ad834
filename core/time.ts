/** RFC 3339, to the millisecond, as clients give it. */
export const rfc3339 = '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,3})?(Z|[+-]\\d\\d:\\d\\d)$'

/**
 * The clock is passed in. Leases and due times use the database's clock instead, so that two hosts with
 * different clocks agree on them.
 */
export type Clock = { now(): Date }

export const systemClock: Clock = { now: () => new Date() }
