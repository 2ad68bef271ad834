/**
 * A line of a batch, read as the body of `POST /v1/payments` is: by the same schema, parsed by the same parser. What is
 * wrong with it is its verdict, and of such a line nothing is kept: it may hold what must not be.
 */
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { Server } from '@coffer/core/http-server.ts'
import { validationFailure } from '@coffer/core/validation-failure.ts'
import { validate } from '../payments/new-payment.ts'
import type { NewPayment } from '../payments/schemas.ts'
import type { Line } from './lines.ts'
import { type NewBatchRow, newBatchRow } from './schemas.ts'

export type Refused = { code: string; param: string | null }

export type ReadRow = { row_number: number } & (
  | { ok: true; row_id: string; charge: NewPayment }
  | { ok: false; refused: Refused }
)

export type ReadRowOf = (line: Line) => ReadRow

/** To be made once, while the server starts: the schema is compiled here. */
export function createRowReader(server: Server): ReadRowOf {
  const parse = server.getDefaultJsonParser('error', 'error')
  const isValid = server.validatorCompiler!({
    schema: newBatchRow,
    method: 'POST',
    url: '/v1/payment_batches',
    httpPart: 'body',
  })

  function charged(bytes: Buffer | null): { row_id: string; charge: NewPayment } {
    if (bytes === null) throw new Failure('request_too_large')
    const row = parsed(bytes) as NewBatchRow
    if (isValid(row) !== true) throw validationFailure(isValid.errors! as never)
    const { row_id: named, ...charge } = row
    // It is kept until it is charged: no text of it may be a card number, not even where an id belongs.
    refuseCardNumbersWithin(row)
    validate(charge)
    const row_id = named ?? charge.reference
    if (row_id === undefined) throw new Failure('invalid_request', { param: 'row_id' })
    return { row_id, charge }
  }

  function parsed(bytes: Buffer): unknown {
    let value: unknown
    // The parser gives its result at once.
    parse({} as never, utf8Of(bytes), (error: Error | null, found: unknown) => {
      value = error === null ? found : undefined
    })
    if (value === undefined) throw new Failure('malformed_body')
    return value
  }

  return (line) => {
    const row_number = line.number
    try {
      return { row_number, ok: true, ...charged(line.bytes) }
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      return { row_number, ok: false, refused: { code: error.code, param: error.param ?? null } }
    }
  }
}

/** @throws Failure card_number_in_wrong_field, which names the field of the row. */
function refuseCardNumbersWithin(row: Record<string, unknown>): void {
  for (const [param, value] of Object.entries(row)) {
    const texts = value !== null && typeof value === 'object' ? JSON.stringify(value) : value
    if (typeof texts === 'string') refuseCardNumberIn(param, texts)
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true })

/** @throws Failure malformed_body */
function utf8Of(bytes: Buffer): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new Failure('malformed_body')
  }
}
