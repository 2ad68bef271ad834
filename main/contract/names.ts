/** The names of operations and shapes: clients are generated from them, so they follow one rule. */

/**
 * createCard, listCards, getCard, updateCard, deleteCard; a verb behind an id is the operation (revealCard), behind
 * a collection one on many (revealCards), a noun
 * in the plural is something of its own (listPaymentRefunds).
 */
export function operationIdOf(method: string, url: string): string {
  const parts = url.split('/').filter((part) => part !== '' && !/^v\d+$/.test(part))
  const nouns = parts.filter((part) => !part.startsWith(':'))
  const last = parts.at(-1) ?? ''
  const owner = nouns.slice(0, -1).map(singular).map(capitalized).join('')
  const noun = nouns.at(-1) ?? 'root'
  const one = owner + capitalized(singular(noun))
  if (last.startsWith(':')) return `${verbs[method] ?? method.toLowerCase()}${one}`
  const isCollection = noun.endsWith('s') || noun === 'forward'
  if (method === 'GET') return isCollection ? `list${owner}${capitalized(noun)}` : `get${one}`
  if (isCollection) return `create${one}`
  const ofAll = parts.at(-2)?.startsWith(':') === false ? 's' : ''
  return method === 'POST'
    ? `${camel(noun)}${owner}${ofAll}`
    : `${verbs[method] ?? method.toLowerCase()}${one}`
}

const verbs: Record<string, string> = { GET: 'get', PATCH: 'update', PUT: 'replace', DELETE: 'delete' }

/** The folder of the reference an operation stands in: the first noun of its path. */
export function tagOf(url: string): string {
  return url.split('/').find((part) => part !== '' && !/^v\d+$/.test(part)) ?? 'other'
}

/** `api_key` → `ApiKey`. */
export function capitalized(name: string): string {
  return name.replace(/(?:^|_)([a-z])/g, (_match, letter: string) => letter.toUpperCase())
}

function camel(name: string): string {
  const whole = capitalized(name)
  return whole.charAt(0).toLowerCase() + whole.slice(1)
}

function singular(noun: string): string {
  return noun.endsWith('ies') ? `${noun.slice(0, -3)}y` : noun.replace(/(?<=ch)es$|s$/, '')
}
