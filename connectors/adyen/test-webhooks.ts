/** A notice for the conformance suite. */
import { noticeItem, signedNotice, webhookKey } from './test-answers.ts'

export const signed = { secret: webhookKey, request: signedNotice(noticeItem('CAPTURE')) }
