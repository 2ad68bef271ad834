/** Stripe answers for tests: as documented, with what a test is about changed. */
type Fields = Record<string, unknown>

export function paymentMethodAnswer(changes: Fields = {}): Fields {
  return { id: 'pm_1PgafuB7WZ01zgkW', object: 'payment_method', type: 'card', ...changes }
}

export function chargeAnswer(changes: Fields = {}): Fields {
  return {
    id: 'ch_1PgafuB7WZ01zgkW',
    object: 'charge',
    amount: 1234,
    amount_captured: 1234,
    captured: true,
    currency: 'usd',
    failure_code: null,
    outcome: { type: 'authorized', network_status: 'approved_by_network', reason: null },
    payment_intent: 'pi_1PgafyB7WZ01zgkW',
    payment_method_details: { type: 'card', card: { network_transaction_id: '765432109876543' } },
    refunded: false,
    status: 'succeeded',
    transfer_group: 'att_01jqzk3x5w',
    ...changes,
  }
}

export function failedCharge(failure_code: string, outcome: Fields): Fields {
  return chargeAnswer({
    status: 'failed',
    captured: false,
    amount_captured: 0,
    failure_code,
    outcome: { type: 'issuer_declined', ...outcome },
  })
}

export function chargeList(...data: Fields[]): Fields {
  return { object: 'list', url: '/v1/charges', has_more: false, data }
}

export function intentAnswer(changes: Fields = {}): Fields {
  return {
    id: 'pi_1PgafyB7WZ01zgkW',
    object: 'payment_intent',
    amount: 1234,
    amount_capturable: 0,
    amount_received: 1234,
    currency: 'usd',
    last_payment_error: null,
    latest_charge: chargeAnswer(),
    metadata: { coffer_attempt: 'att_01jqzk3x5w', coffer_payment: 'pay_01jqzk3x5v' },
    next_action: null,
    status: 'succeeded',
    ...changes,
  }
}

/** An intent that waits for capture. */
export function heldIntent(): Fields {
  return intentAnswer({
    status: 'requires_capture',
    amount_received: 0,
    amount_capturable: 1234,
    latest_charge: chargeAnswer({ captured: false, amount_captured: 0 }),
  })
}

export function refundAnswer(changes: Fields = {}): Fields {
  return {
    id: 're_1Pgc72B7WZ01zgkW',
    object: 'refund',
    amount: 1234,
    currency: 'usd',
    metadata: { coffer_refund: 'op_01jqzk3x5y', coffer_payment: 'pay_01jqzk3x5v' },
    payment_intent: 'pi_1PgafyB7WZ01zgkW',
    status: 'succeeded',
    ...changes,
  }
}

export function errorAnswer(type: string, changes: Fields = {}): Fields {
  return { error: { type, message: 'as Stripe words it', ...changes } }
}

export function cardError(decline_code: string, changes: Fields = {}): Fields {
  const payment_intent = intentAnswer({
    status: 'requires_payment_method',
    amount_received: 0,
    latest_charge: 'ch_1PgafuB7WZ01zgkW',
  })
  return errorAnswer('card_error', { code: 'card_declined', decline_code, payment_intent, ...changes })
}
