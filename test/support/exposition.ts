/** Reads the Prometheus text format 0.0.4, and refuses what a Prometheus server would refuse. */
import assert from 'node:assert/strict'

export type Series = { name: string; labels: Record<string, string>; value: number }

const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: (-?\d+))?$/
const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)/
const types = ['counter', 'gauge', 'histogram', 'summary', 'untyped']

/** @returns the declared names, histograms once, and every sample. */
export function parseExposition(text: string): { names: Set<string>; series: Series[] } {
  assert.ok(text.endsWith('\n'), 'the last line has no end')
  const typeOf = new Map<string, string>()
  const series: Series[] = []
  const seen = new Set<string>()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue
    if (line.startsWith('# TYPE ')) {
      const [, , name, type] = line.split(' ') as [string, string, string, string]
      assert.ok(types.includes(type), line)
      assert.ok(!typeOf.has(name), `declared twice: ${name}`)
      typeOf.set(name, type)
      continue
    }
    const match = sample.exec(line)
    assert.ok(match !== null, `not a sample: ${line}`)
    const [, name, labels = '', value] = match as unknown as [string, string, string | undefined, string]
    assert.ok(typeOf.has(familyOf(name, typeOf)), `not declared: ${line}`)
    assert.ok(!seen.has(`${name}{${labels}}`), `there twice: ${line}`)
    seen.add(`${name}{${labels}}`)
    series.push({ name, labels: parseLabels(labels), value: parseValue(value) })
  }
  return { names: new Set(typeOf.keys()), series }
}

function familyOf(name: string, typeOf: Map<string, string>): string {
  if (typeOf.has(name)) return name
  const family = name.replace(/_(bucket|sum|count)$/, '')
  const type = typeOf.get(family)
  return type === 'histogram' || type === 'summary' ? family : name
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (let rest = text; rest !== ''; ) {
    const match = label.exec(rest)
    assert.ok(match !== null, `not labels: ${text}`)
    labels[match[1]!] = match[2]!
    rest = rest.slice(match[0].length)
  }
  return labels
}

function parseValue(text: string): number {
  if (/^[+-]?Inf$/.test(text)) return text.startsWith('-') ? -Infinity : Infinity
  if (text === 'NaN' || text === 'Nan') return Number.NaN
  assert.match(text, /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/)
  return Number(text)
}
