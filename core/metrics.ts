/** Prometheus series of this process. The named ones of the operating guide are declared beside their use. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export const registry = new Registry()
collectDefaultMetrics({ register: registry })

export function counter<Label extends string = never>(
  name: string,
  help: string,
  labelNames: Label[] = [],
): Counter<Label> {
  return new Counter({ name, help, labelNames, registers: [registry] })
}

export function gauge<Label extends string = never>(
  name: string,
  help: string,
  labelNames: Label[] = [],
  /** Called whenever the series are read, for a value that costs nothing to look up. */
  look?: (gauge: Gauge<Label>) => void,
): Gauge<Label> {
  const collect = look === undefined ? {} : { collect: () => look(created) }
  const created: Gauge<Label> = new Gauge({ name, help, labelNames, registers: [registry], ...collect })
  return created
}

export function histogram<Label extends string = never>(
  name: string,
  help: string,
  labelNames: Label[],
  buckets: number[],
): Histogram<Label> {
  return new Histogram({ name, help, labelNames, buckets, registers: [registry] })
}

export const logDetectorHits = counter(
  'coffer_log_detector_hits_total',
  'Values that looked like card numbers and were masked on their way into a log. Anything above 0 is a bug.',
)

export const auditFailures = counter(
  'coffer_audit_failures_total',
  'Times an audit record could not be written or sealed, or a checkpoint not be made or exported.',
  ['zone', 'step'],
)
