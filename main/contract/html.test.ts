import assert from 'node:assert/strict'
import { test } from 'node:test'
import { html, inline, paragraphs } from './html.ts'

test('a value is escaped wherever it stands; only HTML made here is taken as it is', () => {
  const evil = `"><script>alert('x')</script>&`
  const escaped = '&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;'
  assert.equal(html`<a title="${evil}">${evil}</a>`.html, `<a title="${escaped}">${escaped}</a>`)
  assert.equal(html`<ul>${[html`<li>${'<b>'}</li>`, 'c&d']}</ul>`.html, '<ul><li>&lt;b&gt;</li>c&amp;d</ul>')
  assert.equal(inline(evil).html, escaped)
  assert.equal(html`${undefined}${false}${0}`.html, '0')
})

test('of Markdown there are paragraphs, code and strong, and links are their text', () => {
  assert.equal(
    paragraphs('**A** `<b>`\nc\n\nsee [here](there.md)').html,
    '<p><strong>A</strong> <code>&lt;b&gt;</code>\nc</p><p>see here</p>',
  )
})
