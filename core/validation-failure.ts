/** What a schema's validator finds in a request, as the failure that is answered. */
import type { FastifyError } from 'fastify'
import { Failure } from './errors.ts'
import { wordsOf } from './pattern-words.ts'

type ValidationProblem = NonNullable<FastifyError['validation']>[number]

/** As whoever sends the request calls it. */
const partNames = new Map([
  ['querystring', 'query'],
  ['params', 'path'],
  ['headers', 'header'],
])

/** What a validator found, the first of it, told without any value of the request. */
export function validationFailure(problems: readonly ValidationProblem[], context = 'body'): Failure {
  const problem = problems[0]!
  const path = problem.instancePath.slice(1).split('/').map(unescaped)
  const named = problem.params['missingProperty'] ?? problem.params['additionalProperty']
  const names = [...path, named].filter((part) => typeof part === 'string' && part !== '').join('.')
  // The message comes from the schema, never from the value: nothing of the request is echoed but its shape,
  // and that not where somebody put a card number for a name.
  const param = shownName(names)
  const place = `${partNames.get(context) ?? context}${param === '' ? '' : ` ${param}`}`
  const wanted = allowedBy(problems) ?? patternIn(problem) ?? problem.message ?? 'is not valid'
  const detail = `${place}: ${wanted}`
  return new Failure('invalid_request', param === '' ? { detail } : { detail, param })
}

/** Where one of some values is wanted, all of them: a validator says only that it is none. */
function allowedBy(problems: readonly ValidationProblem[]): string | undefined {
  const { instancePath, keyword, params } = problems[0]!
  // A choice between constants is told as a problem with each.
  const constants = problems.filter(
    (other) => other.keyword === 'const' && other.instancePath === instancePath,
  )
  const values =
    keyword === 'enum'
      ? (params['allowedValues'] as unknown[])
      : keyword === 'const'
        ? constants.map((each) => each.params['allowedValue'])
        : undefined
  return values && `must be ${values.length > 1 ? 'one of ' : ''}${values.map(String).join(', ')}`
}

function patternIn({ keyword, params }: ValidationProblem): string | undefined {
  return keyword === 'pattern' ? wordsOf(String(params['pattern'])) : undefined
}

/** JSON pointer, RFC 6901. */
const unescaped = (part: string) => part.replaceAll('~1', '/').replaceAll('~0', '~')

/** So many digits, however they are parted, could be a card number; and a name may be as long as a body. */
function shownName(names: string): string {
  const masked = names.slice(0, 200).replace(/[0-9](?:[^0-9]{0,3}[0-9]){11,}/g, '[card number]')
  return masked.length > 100 ? `${masked.slice(0, 100)}…` : masked
}
