/** The reference as one page of plain HTML: no script, nothing loaded, everything on it from the contract. */
import { fieldsTable } from './fields.ts'
import { type Html, html, inline, paragraphs } from './html.ts'
import type { OpenApi, Operation } from './openapi.ts'
import { codeBlock, methodName, operationSection } from './operations.ts'

/** Stands where the address belongs that the reader has called. */
export const originMark = 'COFFER-ORIGIN'

export function referencePage(api: OpenApi, style: string): string {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )
  const tags = api.tags.map((tag) => ({
    ...tag,
    operations: operations.filter(({ operation }) => operation.tags.includes(tag.name)),
  }))
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${api.info.title} API reference</title>
<style>${{ html: style }}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<nav aria-label="Operations">
<p class="title"><a href="#content">${api.info.title} API</a> <small>${api.info.version}</small></p>
<ul>
<li><a href="#start">Start here</a></li>
${tags.map((tag) => html`<li><a href="#tag-${tag.name}">${headingOf(tag.name)}</a><ul>${tag.operations.map(navigationEntry)}</ul></li>`)}
<li><a href="#shapes">Objects</a></li>
<li><a href="#errors">Errors</a></li>
</ul>
</nav>
<main id="content">
<h1>${api.info.title} API reference</h1>
${start(api)}
${tags.map(
  (
    tag,
  ) => html`<section aria-labelledby="tag-${tag.name}"><h2 id="tag-${tag.name}">${headingOf(tag.name)}</h2>
${tag.description !== undefined && paragraphs(tag.description)}
${tag.operations.map(({ method, path, operation }) => operationSection(method, path, operation, api))}</section>`,
)}
<h2 id="shapes">Objects</h2>
${Object.entries(api.components.schemas).map(
  ([name, schema]) => html`<section id="schema-${name}"><h3>${name}</h3>
${typeof schema['description'] === 'string' && html`<p>${schema['description']}</p>`}
${fieldsTable(schema, name, 'optional')}</section>`,
)}
${errors(api)}
</main>
</body>
</html>
`
  return page.html
}

function navigationEntry({ method, operation }: { method: string; operation: Operation }): Html {
  const { operationId } = operation
  return html`<li><a href="#${operationId}">${methodName(method)} ${operationId}</a></li>`
}

function start(api: OpenApi): Html {
  const setUp = `API=${originMark}\nKEY=sk_test_…`
  return html`<section aria-labelledby="start"><h2 id="start">Start here</h2>
${paragraphs(api.info.description)}
<p>The commands on this page use two variables. The key of a sandbox stands in what <code>npm start</code> prints, and in
<code>sandbox.json</code> in its data folder.</p>
${codeBlock(setUp, 'Variables')}
<p>First <a href="#createCard">keep a card</a>, then <a href="#createPayment">charge it</a> by the id you got, then
<a href="#listEvents">read what happened</a>. This page is made from <a href="/openapi.json">openapi.json</a>, from which
clients can be generated too.</p></section>`
}

function errors(api: OpenApi): Html {
  const entries = Object.entries(api['x-failures']).map(
    ([
      code,
      entry,
    ]) => html`<section id="error-${code}"><h3><a href="#error-${code}"><code>${code}</code></a></h3>
<p><strong>${entry.status}</strong> ${entry.title} ${entry.retryable ? 'The same request can succeed later.' : ''}</p>
<p>${inline(entry.meaning)}</p>
<p><strong>Parameter:</strong> ${inline(entry.parameter)}</p>
<p><strong>What to do:</strong> ${inline(entry.what_to_do)}</p>
<p class="type">type <code>urn:coffer:error:${code}</code></p></section>`,
  )
  return html`<h2 id="errors">Errors</h2>${entries}`
}

function headingOf(tag: string): string {
  return tag.charAt(0).toUpperCase() + tag.slice(1).replaceAll('_', ' ')
}
