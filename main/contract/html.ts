/** HTML that cannot be broken by a value: whatever is put into a template is escaped unless it is HTML already. */
export type Html = { readonly html: string }

type Value = Html | string | number | undefined | false | readonly (Html | string)[]

export function html(strings: TemplateStringsArray, ...values: Value[]): Html {
  return { html: strings.reduce((text, part, index) => text + textOf(values[index - 1]) + part) }
}

function textOf(value: Value): string {
  if (value === undefined || value === false) return ''
  if (typeof value === 'object') return 'html' in value ? value.html : value.map(textOf).join('')
  return escaped(String(value))
}

function escaped(text: string): string {
  const names: Record<string, string> = { '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot', "'": '#39' }
  return text.replace(/[&<>"']/g, (character) => `&${names[character]};`)
}

/** The little of Markdown that descriptions use: paragraphs, `code`, **strong**. */
export function paragraphs(text: string): Html {
  const parts = text.split(/\n\n+/).map((part) => html`<p>${inline(part)}</p>`)
  return html`${parts}`
}

export function inline(text: string): Html {
  const marked = escaped(text)
    .replace(/`([^`]+)`/g, '<code>$1</code>')
    .replace(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>')
    .replace(/\[([^\]]+)\]\([^)]+\)/g, '$1')
  return { html: marked }
}
