import { idPattern } from '@coffer/core/ids.ts'
import { type Static, type TObject, Type } from 'typebox'
import { finishingSchemes } from '../finishing/finishing-steps.ts'

export const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const
export type Method = (typeof methods)[number]

const method = Type.Enum([...methods])
const pem = (label: string) =>
  `^(?:-----BEGIN ${label}-----[A-Za-z0-9+/=\\r\\n]+-----END ${label}-----[\\r\\n]*)+$`

const origin = Type.String({
  maxLength: 300,
  description: 'https, a DNS name, and a port if it is not 443: nothing behind it.',
})
const pathPrefix = Type.String({
  maxLength: 300,
  pattern: "^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$",
  description: 'Only this path and those below it.',
})

const step = <Parameters extends TObject>(parameters: Parameters) =>
  Type.Optional(Type.Object({ parameters }, { additionalProperties: false }))
const signingStep = <Parameters extends TObject>(parameters: Parameters, secret: string) =>
  Type.Optional(
    Type.Object(
      {
        parameters,
        secret: Type.String({
          minLength: 1,
          maxLength: 10_000,
          pattern: '^[\\x20-\\x7e\\r\\n]+$',
          description: `${secret} It never comes out again.`,
        }),
      },
      { additionalProperties: false },
    ),
  )

const { jwe, cybersource_http_signature: cybersource, mastercard_oauth1: mastercard } = finishingSchemes
const finishing = Type.Object(
  {
    jwe: step(jwe.parameters as TObject),
    cybersource_http_signature: signingStep(cybersource.parameters as TObject, cybersource.secret!),
    mastercard_oauth1: signingStep(mastercard.parameters as TObject, mastercard.secret!),
  },
  {
    additionalProperties: false,
    minProperties: 1,
    description: 'What is done to a request once its marks are filled: encryption first, then a signature.',
  },
)

export const newDestination = Type.Object(
  {
    origin,
    path_prefix: Type.Optional(pathPrefix),
    methods: Type.Optional(Type.Array(method, { minItems: 1, maxItems: methods.length, uniqueItems: true })),
    client_certificate: Type.Optional(
      Type.Object(
        {
          certificate: Type.String({
            maxLength: 20_000,
            pattern: pem('CERTIFICATE'),
            description: 'PEM: the certificate, then what it is signed by.',
          }),
          private_key: Type.String({
            maxLength: 10_000,
            pattern: pem('(?:RSA |EC )?PRIVATE KEY'),
            description: 'PEM, not encrypted. It never comes out again.',
          }),
        },
        { additionalProperties: false },
      ),
    ),
    finishing: Type.Optional(finishing),
  },
  { additionalProperties: false },
)
export type NewDestination = Static<typeof newDestination>

export const destination = Type.Object({
  id: Type.String({ pattern: idPattern('destination') }),
  object: Type.Literal('destination'),
  origin,
  path_prefix: Type.String({ description: 'Only this path and those below it.' }),
  methods: Type.Array(Type.String()),
  client_certificate: Type.Union([
    Type.Object({
      sha256: Type.String({ description: 'Of the certificate, in hexadecimal digits parted by colons.' }),
      subject: Type.String(),
      valid_to: Type.String({ description: 'RFC 3339, in UTC.' }),
    }),
    Type.Null(),
  ]),
  finishing: Type.Array(
    Type.Object({
      scheme: Type.String(),
      parameters: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true }),
    }),
    { description: 'What is done to a request once its marks are filled, in this order.' },
  ),
  created_at: Type.String(),
})
export type Destination = Static<typeof destination>

export const destinationList = Type.Object({
  data: Type.Array(destination),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})

export const destinationId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
