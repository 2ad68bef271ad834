/** What the engine and the vault rely on in notices, for every connector folder that has a webhook.ts. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { disputeStages, type Webhook, type WebhookRequest } from '@coffer/core/connector.ts'
import fc from 'fast-check'
import { loadConnectors } from './directory.ts'

/** What a folder's `test-webhooks.ts` exports: one notice as the PSP sends it, and the secret it is signed with. */
type Signed = { secret: string; request: WebhookRequest }

/** As the vault compares. */
function isSigned({ signatures }: Webhook, request: WebhookRequest, secret: string): boolean {
  const wanted = signatures(request)
  if (wanted === undefined || wanted.length === 0) return false
  return wanted.every(({ key_encoding, encoding, message, signatures: given }) => {
    const right = createHmac('sha256', Buffer.from(secret, key_encoding)).update(message).digest(encoding)
    return given.includes(right)
  })
}

for (const [psp, { webhook }] of await loadConnectors()) {
  if (webhook === undefined) continue
  const file = pathToFileURL(join(import.meta.dirname, psp, 'test-webhooks.ts')).href
  const { signed } = (await import(file)) as { signed: Signed }
  const { secret, request } = signed
  describe(psp, () => {
    test('a notice as the PSP sends it is signed right and read', () => {
      assert.ok(isSigned(webhook, request, secret))
      const notices = webhook.notices(request)
      assert.ok(notices !== undefined && notices.length > 0)
      for (const { event_id, type, about } of notices) {
        assert.notEqual(event_id, '')
        assert.notEqual(type, '')
        assert.notEqual(about, 'other')
      }
    })

    test('another secret, no signature and a cut signature are not right', () => {
      assert.ok(!isSigned(webhook, request, [...secret].reverse().join('')))
      const bare = { headers: {}, body: request.body }
      // Where the signature stands in the body, it is the text that has to go.
      const body = request.body.replace(/"hmacSignature":"[^"]*"/, '"hmacSignature":""')
      assert.ok(!isSigned(webhook, { ...bare, body }, secret))
      const cut = Object.entries(request.headers).map(([name, value]) => [name, value.slice(0, -1)])
      if (cut.length > 0) {
        const headers = Object.fromEntries(cut) as Record<string, string>
        assert.ok(!isSigned(webhook, { headers, body: request.body }, secret))
      }
    })

    test('a notice that was changed tells nothing else than the one that was signed', () => {
      const told = JSON.stringify(moneyOf(webhook, request))
      fc.assert(
        fc.property(
          fc.nat(request.body.length - 1),
          fc.constantFrom(...'0123456789aZ"}'),
          (at, character) => {
            const body = request.body.slice(0, at) + character + request.body.slice(at + 1)
            const changed = { ...request, body }
            if (!isSigned(webhook, changed, secret)) return
            // What is not signed may change what is shown, never what money does.
            assert.equal(JSON.stringify(moneyOf(webhook, changed)), told, body)
          },
        ),
        { numRuns: 1_000 },
      )
    })

    test('no request, however odd, throws, and what is read has the shape the engine takes', () => {
      const headers = fc.dictionary(fc.constantFrom(...Object.keys(request.headers), 'x'), fc.string())
      const bodies = fc.oneof(
        fc.string(),
        fc.json(),
        fc.nat(request.body.length).map((length) => request.body.slice(0, length)),
      )
      fc.assert(
        fc.property(headers, bodies, (given, body) => {
          webhook.signatures({ headers: given, body })
          for (const notice of webhook.notices({ headers: given, body }) ?? []) {
            assert.ok(notice.event_id !== '' && notice.type !== '')
            if (notice.about === 'dispute') assert.ok(disputeStages.includes(notice.stage))
          }
        }),
        { numRuns: 1_000 },
      )
    })
  })
}

/** Of each notice, what decides about money. */
function moneyOf(webhook: Webhook, request: WebhookRequest) {
  return webhook.notices(request)?.map((notice) => {
    if (notice.about === 'attempt') {
      const { kind } = notice.outcome
      const amount = 'amount' in notice.outcome ? String(notice.outcome.amount.amount_minor) : null
      return [notice.event_id, notice.attempt_id, kind, amount]
    }
    if (notice.about === 'operation') return [notice.event_id, notice.operation_id, notice.outcome.kind]
    return [notice.event_id, notice.about]
  })
}
