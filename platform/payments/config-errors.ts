/** A PSP that refuses whoever asks refuses everything: that is for a person to look at, soon. */
import type { Log } from '@coffer/core/log.ts'
import { counter } from '@coffer/core/metrics.ts'
import { configErrorCode, type PaymentFailure } from './machine.ts'

const configErrors = counter(
  'coffer_psp_config_errors_total',
  'Requests that a PSP refused because of who asked, such as for wrong credentials.',
  ['psp'],
)

export function countConfigError(
  log: Log,
  { psp, connection_id }: { psp: string; connection_id: string },
  failure: PaymentFailure | null,
): void {
  if (failure?.code !== configErrorCode) return
  configErrors.inc({ psp })
  log.warn({ code: configErrorCode, connection_id }, 'a PSP refuses what this connection is set to')
}
