/** One operation of the reference: what it takes, what it gives, and a command to copy. */
import type { JsonSchema } from './declared-routes.ts'
import { fieldRow, fieldsTable, typeOf } from './fields.ts'
import { type Html, html, inline, paragraphs } from './html.ts'
import type { OpenApi, Operation, Parameter, Response } from './openapi.ts'
import { codesOf } from './responses.ts'

export function operationSection(method: string, path: string, operation: Operation, api: OpenApi): Html {
  const { operationId, summary, description, parameters = [], requestBody, responses } = operation
  const body = requestBody?.content['application/json']
  return html`<section id="${operationId}" aria-labelledby="${operationId}-title">
<h3 id="${operationId}-title"><a href="#${operationId}">${summary}</a></h3>
<p class="call">${methodName(method)} <code>${path}</code></p>
${description !== undefined && paragraphs(description)}
${parameters.length > 0 && parametersTable(parameters)}
${body !== undefined && html`<h4>Body</h4>${fieldsTable(body.schema, `Body of ${summary}`, 'required')}`}
<h4>Try it</h4>
${codeBlock(curlOf(method, path, operation), `Command for: ${summary}`)}
<h4>Answers</h4>
${Object.entries(responses).map(([status, response], index) => answer(status, response, api, index === 0))}
</section>`
}

function parametersTable(parameters: Parameter[]): Html {
  const rows = parameters.map(({ name, in: place, required, description, schema }) =>
    fieldRow({
      name,
      mark: required ? 'required' : undefined,
      schema: {
        ...schema,
        description: `${place === 'path' ? 'In the path.' : place === 'query' ? 'In the query.' : 'A header.'} ${description ?? ''}`,
      },
    }),
  )
  return html`<h4>Parameters</h4><div class="scroll" tabindex="0" role="region" aria-label="Parameters"><table>
<thead><tr><th scope="col">name</th><th scope="col">type</th><th scope="col">what it is</th></tr></thead>
<tbody>${rows}</tbody></table></div>`
}

function answer(status: string, response: Response, api: OpenApi, isOpen: boolean): Html {
  const json = response.content?.['application/json']
  const problem = response.content?.['application/problem+json']
  if (problem !== undefined) return failureAnswers(status, codesOf(problem.schema), api)
  return html`<details${isOpen && html` open`}><summary><strong>${status}</strong> ${inline(response.description)}</summary>
${json !== undefined && shape(json.schema, `Answer ${status}`)}
${json !== undefined && codeBlock(JSON.stringify(json.example, null, 2), `Example of ${status}`)}
</details>`
}

function failureAnswers(status: string, codes: string[], api: OpenApi): Html {
  const entries = codes.map(
    (code) =>
      html`<li><a href="#error-${code}"><code>${code}</code></a> ${api['x-failures'][code]!.title}</li>`,
  )
  return html`<details><summary><strong>${status}</strong> ${codes.join(', ')}</summary>
<ul>${entries}</ul></details>`
}

function shape(schema: JsonSchema, caption: string): Html {
  return '$ref' in schema ? html`<p>${typeOf(schema)}</p>` : fieldsTable(schema, caption, 'optional')
}

export function methodName(method: string): Html {
  return html`<span class="method ${method}">${method.toUpperCase()}</span>`
}

/** Scrolls by keyboard too, where it is wider than the page. */
export function codeBlock(text: string, label: string): Html {
  return html`<pre tabindex="0" role="region" aria-label="${label}"><code>${text}</code></pre>`
}

/** A command to copy; `$API` and `$KEY` are set at the head of the page. */
export function curlOf(method: string, path: string, operation: Operation): string {
  const parameters = operation.parameters ?? []
  const filled = path.replace(/\{(\w+)\}/g, (_match, name: string) =>
    encodeURIComponent(String(parameters.find((parameter) => parameter.name === name)?.example)),
  )
  const body = operation.requestBody?.content['application/json']?.example
  const isFile = operation.requestBody !== undefined && body === undefined
  const needsMethod = !isFile && method !== (body === undefined ? 'get' : 'post')
  const takesKey = parameters.some((parameter) => parameter.name === 'Idempotency-Key')
  const lines = [
    `curl "$API${filled}"${needsMethod ? ` -X ${method.toUpperCase()}` : ''}`,
    ...(operation.security.length > 0 ? ['-H "Authorization: Bearer $KEY"'] : []),
    ...(takesKey ? [`-H "Idempotency-Key: $(node -p 'crypto.randomUUID()')"`] : []),
    ...(body === undefined ? [] : ["-H 'Content-Type: application/json'", `-d '${quotable(body)}'`]),
    ...(isFile ? ['-T cards.csv'] : []),
  ]
  return lines.join(' \\\n  ')
}

/** JSON that may stand between single quotes in a shell. */
function quotable(body: unknown): string {
  return JSON.stringify(body).replaceAll("'", '\\u0027')
}
