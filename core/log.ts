/**
 * JSON logs. A field that is not in the allow-list below is dropped, so nothing reaches a log because
 * somebody handed over too much; what is left passes the card-number detector. The ids of the request that is being
 * carried out are added by themselves.
 */
import { type DestinationStream, type Logger, pino } from 'pino'
import { maskCardNumbers } from './card-number-detector.ts'
import { logDetectorHits } from './metrics.ts'
import { requestFields } from './trace.ts'

const allowedFields = new Set([
  'admin_url',
  'attempt_id',
  'batch_size',
  'code',
  'connection_id',
  'count',
  'duration_ms',
  'error_code',
  'error_message',
  'error_name',
  'error_stack',
  'event_id',
  'failpoint',
  'forward_id',
  'host',
  'internal_url',
  'key_id',
  'merchant_id',
  'method',
  'mode',
  'payment_id',
  'pid',
  'port',
  'reason',
  'request_id',
  'role',
  'route',
  'sequence',
  'signal',
  'state',
  'status',
  'step',
  'tries',
  'url',
  'version',
])

export type LogFields = Record<string, unknown> & { error?: unknown }
export type Log = {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  child(fields: LogFields): Log
}

const maskText = (text: string) => maskCardNumbers(text, () => logDetectorHits.inc())

/** What may be told of an error. A PostgreSQL error's detail holds row values, so it is not among it. */
function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error_name: typeof error }
  const cause = error.cause instanceof Error ? ` (cause: ${error.cause.message})` : ''
  return {
    error_name: error.name,
    error_message: error.message + cause,
    error_code: (error as { code?: unknown }).code,
    error_stack: error.stack
      ?.split('\n')
      .filter((line) => line.startsWith('    at '))
      .slice(0, 12)
      .join('\n'),
  }
}

function allowed(fields: LogFields): Record<string, unknown> {
  const { error, ...rest } = fields
  const kept: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(
    error === undefined ? rest : { ...rest, ...errorFields(error) },
  )) {
    if (!allowedFields.has(name) || value === undefined) continue
    kept[name] = allowedValue(value)
  }
  return kept
}

function allowedValue(value: unknown): unknown {
  if (typeof value === 'string') return maskText(value)
  if (typeof value === 'number' || typeof value === 'bigint') {
    const text = String(value)
    const masked = maskText(text)
    return masked === text ? value : masked
  }
  return typeof value === 'boolean' || value === null ? value : '[dropped]'
}

function wrap(logger: Logger): Log {
  return {
    debug: (fields, message) => {
      if (logger.isLevelEnabled('debug')) logger.debug(allowed(fields), maskText(message))
    },
    info: (fields, message) => logger.info(allowed(fields), maskText(message)),
    warn: (fields, message) => logger.warn(allowed(fields), maskText(message)),
    error: (fields, message) => logger.error(allowed(fields), maskText(message)),
    child: (fields) => wrap(logger.child(allowed(fields))),
  }
}

export const logLevels = ['debug', 'info', 'warn', 'error'] as const

export function createLog(options: {
  level: (typeof logLevels)[number]
  destination: DestinationStream
}): Log {
  const settings = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    mixin: requestFields,
  }
  return wrap(
    pino({ ...settings, formatters: { level: (label) => ({ level: label }) } }, options.destination),
  )
}
