/** Certificates for tests, made on the spot: none is in the tree, and none runs out. X.509 v3, RFC 5280, in DER. */
import { createSign, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'

export type Certified = { certificate: string; private_key: string }

type Issuer = { name: string; key: KeyObject }

/** @param days how long it is good, from yesterday on; negative makes one that is over. */
export function newCertificate(
  name: string,
  options: { issuer?: Issuer; is_authority?: boolean; days?: number } = {},
): Certified & { issuer: Issuer } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issuer = options.issuer ?? { name, key: privateKey }
  const signature = sequence(objectId('2a8648ce3d040302')) // ecdsa-with-SHA256
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    signature,
    commonName(issuer.name),
    sequence(time(-1), time(options.days ?? 30)),
    commonName(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(alternativeName(name), basicConstraints(options.is_authority ?? false))),
  )
  const signed = createSign('sha256').update(body).sign(issuer.key)
  const certificate = sequence(body, signature, tagged(0x03, Buffer.concat([Buffer.from([0]), signed])))
  return {
    certificate: pemOf('CERTIFICATE', certificate),
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    issuer: { name, key: privateKey },
  }
}

function tagged(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...parts: Buffer[]) => tagged(0x30, ...parts)
const integer = (bytes: Buffer) => tagged(0x02, bytes)
const objectId = (hex: string) => tagged(0x06, Buffer.from(hex, 'hex'))
const octets = (content: Buffer) => tagged(0x04, content)

const commonName = (name: string) =>
  sequence(tagged(0x31, sequence(objectId('550403'), tagged(0x0c, Buffer.from(name)))))

function time(days: number): Buffer {
  const at = new Date(Date.now() + days * 86_400_000).toISOString()
  return tagged(0x18, Buffer.from(`${at.replaceAll(/[-:T]/g, '').slice(0, 14)}Z`))
}

const alternativeName = (name: string) =>
  sequence(objectId('551d11'), octets(sequence(tagged(0x82, Buffer.from(name)))))

const basicConstraints = (isAuthority: boolean) =>
  sequence(
    objectId('551d13'),
    tagged(0x01, Buffer.from([0xff])),
    octets(isAuthority ? sequence(tagged(0x01, Buffer.from([0xff]))) : sequence()),
  )

function pemOf(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g)!
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
