/** A schema as a table of fields. */
import type { JsonSchema } from './declared-routes.ts'
import { type Html, html, inline } from './html.ts'

type Field = { name: string; schema: JsonSchema }

/** @param marks says which fields stand out: in a request those it must have, in an answer those that may be missing. */
export function fieldsTable(schema: JsonSchema, caption: string, marks: 'required' | 'optional'): Html {
  const fields = fieldsOf(schema, '').map(({ isRequired, ...field }) => ({
    ...field,
    mark: isRequired === (marks === 'required') ? marks : undefined,
  }))
  if (fields.length === 0) return html`<p>${typeOf(schema)}</p>`
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table>
<thead><tr><th scope="col">field</th><th scope="col">type</th><th scope="col">what it is</th></tr></thead>
<tbody>${fields.map(fieldRow)}</tbody></table></div>`
}

export function fieldRow({ name, schema, mark }: Field & { mark: string | undefined }): Html {
  const text = schema['description']
  return html`<tr><th scope="row"><code>${name}</code>${mark !== undefined && html` <em>${mark}</em>`}</th>
<td>${typeOf(schema)}</td><td>${typeof text === 'string' && inline(text)} ${bounds(schema)}</td></tr>`
}

/** Objects and lists of objects inside are shown under their path; a shape of its own is linked instead. */
function fieldsOf(schema: JsonSchema, path: string): (Field & { isRequired: boolean })[] {
  const { properties = {}, required = [] } = schema as {
    properties?: Record<string, JsonSchema>
    required?: string[]
  }
  return Object.entries(properties).flatMap(([key, property]) => {
    const name = path + key
    const field = { name, schema: property, isRequired: required.includes(key) }
    const inside = (property['type'] === 'array' ? property['items'] : property) as JsonSchema
    return [field, ...fieldsOf(inside ?? {}, `${name}${property['type'] === 'array' ? '[]' : ''}.`)]
  })
}

export function typeOf(schema: JsonSchema): Html {
  const reference = /\/(\w+)$/.exec(String(schema['$ref']))?.[1]
  if (reference !== undefined) return html`<a href="#schema-${reference}">${reference}</a>`
  const { items, anyOf } = schema as { items?: JsonSchema; anyOf?: JsonSchema[] }
  if (anyOf !== undefined)
    return html`${anyOf.flatMap((one, index) => [index === 0 ? '' : ' or ', typeOf(one)])}`
  if (items !== undefined) return html`list of ${typeOf(items)}`
  return html`${[schema['type'] ?? (schema['const'] === undefined ? 'any' : 'string')].flat().join(' or ')}`
}

function bounds(schema: JsonSchema): Html {
  const { enum: values, const: value, default: fallback } = schema as Record<string, unknown>
  const said: (string | Html)[] = []
  const codes = (list: unknown[]) =>
    list
      .filter((one) => one !== null)
      .flatMap((one, index) => [index === 0 ? '' : ', ', html`<code>${String(one)}</code>`])
  if (Array.isArray(values)) said.push(html`One of ${codes(values)}.`)
  if (value !== undefined) said.push(html`Always ${codes([value])}.`)
  const range = rangeOf(schema, 'minimum', 'maximum')
  if (range !== undefined) said.push(`${range}.`)
  const length = rangeOf(schema, 'minLength', 'maxLength')
  if (length !== undefined) said.push(`${length} characters.`)
  const { maxProperties, pattern } = schema as { maxProperties?: number; pattern?: string }
  if (maxProperties !== undefined) said.push(`At most ${maxProperties} entries.`)
  // Ours for any text that can be stored says nothing to a reader.
  if (pattern !== undefined && !pattern.includes('\\u0000')) said.push(html`Matches <code>${pattern}</code>.`)
  if (fallback !== undefined) said.push(html`${codes([fallback])} if left out.`)
  return html`${said.flatMap((one) => [one, ' '])}`
}

function rangeOf(schema: JsonSchema, least: string, most: string): string | undefined {
  const [from, to] = [schema[least], schema[most]].map((bound) =>
    typeof bound === 'number' ? bound.toLocaleString('en', { useGrouping: 'min2' }) : undefined,
  )
  if (from === undefined) return to === undefined ? undefined : `At most ${to}`
  return to === undefined ? `At least ${from}` : `${from} to ${to}`
}
