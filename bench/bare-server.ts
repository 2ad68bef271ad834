import fastify from 'fastify'
import { scenarios } from './scenarios.ts'

/**
 * The yardstick for the HTTP part: Fastify alone, with the product's own JSON, validating each body and
 * serialising each answer by a schema. The schemas are read off the samples, so they follow the API by
 * themselves.
 */

type Schema = Record<string, unknown>

/** A strict JSON schema that the value fulfils. */
function schemaOf(value: unknown): Schema {
  if (value === null) return { type: 'null' }
  if (Array.isArray(value)) return { type: 'array', items: value.length === 0 ? {} : schemaOf(value[0]) }
  if (typeof value === 'object') {
    const properties = Object.fromEntries(
      Object.entries(value).map(([name, member]) => [name, schemaOf(member)]),
    )
    return { type: 'object', properties, required: Object.keys(properties), additionalProperties: false }
  }
  return { type: typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value }
}

async function serve(sample_answer: string): Promise<void> {
  const answer = JSON.parse(sample_answer)
  const { body } = scenarios.tokenize.request({ number: 1, run: 'sample', card: '' })
  const app = fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false } } })
  app.post(
    '/v1/cards',
    { schema: { body: schemaOf(body), response: { 201: schemaOf(answer) } } },
    (_request, reply) => reply.code(201).send(answer),
  )
  app.get('/v1/cards/:id', { schema: { response: { 200: schemaOf(answer) } } }, (_request, reply) =>
    reply.send(answer),
  )
  await app.listen({ host: '127.0.0.1', port: 0 })
  process.send?.({ port: (app.server.address() as { port: number }).port })
}

process.on('message', ({ sample_answer }: { sample_answer: string }) => void serve(sample_answer))
process.on('disconnect', () => process.exit(0))
process.on('SIGTERM', () => process.exit(0))
