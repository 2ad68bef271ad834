/** Authorization in one request, captured at once or held; and the same for nothing, to see whether a card is good. */
import {
  type AuthorizeInput,
  type HttpRequest,
  type HttpResponse,
  type JsonValue,
  type Outcome,
  parseJsonObject,
  type Step,
  type StepContext,
} from '@coffer/core/connector.ts'
import { plainText } from '../plain-text.ts'
import { adyenAmount } from './amounts.ts'
import { merchantAccount, post, returnUrl } from './credentials.ts'
import { errorOutcome, unknownOutcome } from './errors.ts'
import { isStoring } from './psp-tokens.ts'
import { referenceOf } from './reference.ts'
import { paymentOutcome } from './statuses.ts'
import { interactionOf, networkLink } from './stored-credential.ts'

/** The longest metadata value Adyen takes. */
const metadataLengthMax = 80

type Fields = { [name: string]: JsonValue }

/** Sent again under its key it is at Adyen the first request again, whether or not a CVC still stands in it. */
export const createPayment: Step<AuthorizeInput> = {
  name: 'payments',
  moves_money: true,
  resendable_without_cvc: true,
  request(input, context) {
    if (input.capture === 'automatic')
      return paymentRequest(input, context, 'automatic', {
        fields: { captureDelayHours: 0 },
        additionalData: {},
      })
    // Only of a pre-authorization may more be held later.
    const isIncremented = context.account.settings['incremental_authorization'] === 'true'
    const authorisationType: Fields = isIncremented ? { authorisationType: 'PreAuth' } : {}
    const additionalData = { manualCapture: 'true', ...authorisationType }
    return paymentRequest(input, context, 'manual', { fields: {}, additionalData })
  },
  response: paymentResponse,
}

/** Zero-value authorization: the issuer looks at the card, and nothing is held. */
export const verifyCard: Step<AuthorizeInput> = {
  ...createPayment,
  request: (input, context) => paymentRequest(input, context, 'verify', { fields: {}, additionalData: {} }),
}

function paymentRequest(
  input: AuthorizeInput,
  context: StepContext,
  purpose: 'automatic' | 'manual' | 'verify',
  capture: { fields: Fields; additionalData: Fields },
): HttpRequest {
  const link = networkLink(input)
  const additionalData = { ...capture.additionalData, ...link.additionalData }
  const interaction = interactionOf(input)
  const { token, shopper } = storedMethod(input)
  const isStored = token === null && isStoring(context)
  const isKept = isStored || interaction.recurringProcessingModel !== undefined
  const body: Fields = {
    amount: adyenAmount(input.amount),
    merchantAccount: merchantAccount(context.account),
    reference: referenceOf(input, purpose),
    returnUrl: returnUrl(context.account),
    paymentMethod: { ...(token === null ? cardOf(input) : token), ...link.paymentMethod },
    ...(isStored ? { storePaymentMethod: true, recurringProcessingModel: 'CardOnFile' } : {}),
    ...interaction,
    ...(isKept ? { shopperReference: shopper } : {}),
    ...capture.fields,
    ...(Object.keys(additionalData).length === 0 ? {} : { additionalData }),
    ...merchantReference(input),
  }
  return post('/payments', body, context)
}

function cardOf({ initiator }: AuthorizeInput): Fields {
  return {
    type: 'scheme',
    number: '{{card.number}}',
    expiryMonth: '{{card.exp_month}}',
    expiryYear: '{{card.exp_year}}',
    holderName: '{{card.cardholder_name?}}',
    // Only a cardholder who is there has just given one.
    ...(initiator === 'merchant' ? {} : { cvc: '{{card.cvc?}}' }),
  }
}

/**
 * A stored payment method belongs to a shopper, so its token is written `<shopperReference>/<storedPaymentMethodId>`;
 * without the first part the shopper is our card, as everywhere else.
 */
function storedMethod({ psp_token, card_id }: AuthorizeInput): { token: Fields | null; shopper: string } {
  if (psp_token === null) return { token: null, shopper: card_id }
  const at = psp_token.lastIndexOf('/')
  const storedPaymentMethodId = plainText(psp_token.slice(at + 1), 64)
  const shopper = at < 0 ? card_id : plainText(psp_token.slice(0, at), 256)
  return { token: { type: 'scheme', storedPaymentMethodId }, shopper }
}

function merchantReference({ merchant_reference }: AuthorizeInput): Fields {
  if (merchant_reference === null || merchant_reference === '') return {}
  return { metadata: { merchant_reference: plainText(merchant_reference, metadataLengthMax) } }
}

function paymentResponse(response: HttpResponse, input: AuthorizeInput): Outcome {
  if (response.status !== 200) return errorOutcome(response)
  const answer = parseJsonObject(response.body)
  return answer === undefined ? unknownOutcome('unexpected_answer') : paymentOutcome(answer, input)
}
