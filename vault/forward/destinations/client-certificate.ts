/** The certificate by which a destination knows this vault (mutual TLS). */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { Destination, NewDestination } from './schemas.ts'

type ClientCertificate = NonNullable<NewDestination['client_certificate']>

/** @throws Failure client_certificate_invalid where the key is not the certificate's, or its time is not now. */
export function checkClientCertificate(given: ClientCertificate, now: Date): void {
  const refuse = (detail: string, field: keyof ClientCertificate) =>
    new Failure('client_certificate_invalid', { param: `client_certificate.${field}`, detail })
  const certificate = parsed(() => new X509Certificate(given.certificate))
  if (certificate === undefined) throw refuse('It is not an X.509 certificate.', 'certificate')
  if (now < certificate.validFromDate || now >= certificate.validToDate)
    throw refuse('It is not valid at this time.', 'certificate')
  const key = parsed(() => createPrivateKey(given.private_key))
  if (key === undefined) throw refuse('It is not a private key.', 'private_key')
  if (!certificate.checkPrivateKey(key)) throw refuse("It is not the certificate's.", 'private_key')
}

/** What may be shown of it. */
export function shownCertificate(pem: string): NonNullable<Destination['client_certificate']> {
  const { fingerprint256, subject, validToDate } = new X509Certificate(pem)
  return { sha256: fingerprint256, subject: subject ?? '', valid_to: validToDate.toISOString() }
}

function parsed<Value>(parse: () => Value): Value | undefined {
  try {
    return parse()
  } catch {
    return undefined
  }
}
