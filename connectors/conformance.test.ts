/** What the engine and the vault rely on, for every connector folder there is. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import {
  type AuthorizeInput,
  type Connector,
  declineActions,
  declineReasons,
  type HttpRequest,
  marks,
  type Operation,
  type OperationOutcome,
  type Outcome,
  type Step,
} from '@coffer/core/connector.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import fc from 'fast-check'
import { loadConnectors } from './directory.ts'
import { oddAnswers as answers, isJsonObject } from './test-answers.ts'
import {
  authorizeInput,
  operationInput,
  operationLookUp,
  requestValues,
  stepContext,
  syncInput,
} from './test-inputs.ts'

/** Architecture's names for a connector's files, the tables they read, and what tests use. */
const sourceNames =
  'index credentials authorize verify capture cancel refund increment sync absence webhook statuses declines amounts errors'
    .concat(' modification reference stored-credential psp-tokens')
    .split(' ')

function isKnownFile(file: string): boolean {
  if (file === 'README.md' || /^([a-z-]+\.test|test-[a-z-]+)\.ts$/.test(file)) return true
  return sourceNames.some((name) => file === `${name}.ts`)
}

const operationFiles = ['authorize', 'sync', 'capture', 'cancel', 'refund', 'increment', 'webhook']

/** A step that comes later is given an answer for every name it may ask for. */
const anyAnswers = new Proxy<Record<string, string>>({}, { get: () => 'answer_of_an_earlier_step' })

type NamedRequest = { name: string; moves_money: boolean; request: HttpRequest }

function requestsOf(connector: Connector, input: AuthorizeInput): NamedRequest[] {
  const context = stepContext(anyAnswers)
  const requests: NamedRequest[] = connector.authorize.map((step) => ({
    name: `authorize ${step.name}`,
    moves_money: step.moves_money,
    request: step.request(input, context),
  }))
  const request = connector.sync?.request(syncInput(input), context)
  if (request !== undefined) requests.push({ name: 'sync', moves_money: false, request })
  for (const [name, operation] of operationsOf(connector)) {
    const nothing = { ...input.amount, amount_minor: 0n }
    const changes = { amount: input.amount, authorized: nothing, captured: nothing }
    const change = operationInput(changes)
    requests.push({ name, moves_money: true, request: operation.request(change, context) })
    const look = operation.look_up?.request(operationLookUp(changes), context)
    if (look !== undefined) requests.push({ name: `${name} look-up`, moves_money: false, request: look })
  }
  return requests
}

function operationsOf(connector: Connector): [string, Operation][] {
  return (['capture', 'cancel', 'refund', 'increment'] as const).flatMap((name): [string, Operation][] => {
    const operation = connector[name]
    return operation === undefined ? [] : [[name, operation]]
  })
}

function marksIn(request: HttpRequest): [where: string, mark: string, value: string][] {
  return requestValues(request).flatMap(([where, value]) =>
    [...value.matchAll(/\{\{(.*?)\}\}/g)].map((match): [string, string, string] => [where, match[1]!, value]),
  )
}

/** An input with any amount in the currency, a multiple of `step` minor units. */
function authorizeInputs(currency: string, step = 1n): fc.Arbitrary<AuthorizeInput> {
  return fc
    .record({
      amount_minor: fc.bigInt({ min: 1n, max: amountMinorMax / step }).map((units) => units * step),
      capture: fc.constantFrom('automatic' as const, 'manual' as const),
      initiator: fc.constantFrom('customer' as const, 'merchant' as const),
      merchant_reference: fc.option(fc.string({ unit: 'grapheme', maxLength: 40 })),
    })
    .map(({ amount_minor, ...rest }) => authorizeInput({ ...rest, amount: { amount_minor, currency } }))
}

const connectors = await loadConnectors()

test('there is a connector to test', () => assert.ok(connectors.size > 0))

for (const [psp, connector] of connectors) {
  describe(psp, () => {
    test('the folder has the files a reader looks for and no others', async () => {
      const files = await readdir(join(import.meta.dirname, psp))
      assert.deepEqual(
        files.filter((file) => !isKnownFile(file)),
        [],
      )
      for (const required of ['index.ts', 'README.md']) assert.ok(files.includes(required), required)
      for (const name of operationFiles) {
        assert.equal(files.includes(`${name}.ts`), Object.hasOwn(connector, name), name)
      }
    })

    test('the index has the shape the engine reads', () => checkShape(connector))
    requestTests(connector)
    replayTests(connector)
    amountTests(connector)
    answerTests(connector)
    if (connector.verify !== undefined) verificationTests(connector.verify)
  })
}

function checkShape(connector: Connector): void {
  assert.ok(
    connector.authorize.some((step) => step.moves_money),
    'no step moves money',
  )
  for (const step of connector.authorize) {
    assert.equal(typeof step.moves_money, 'boolean')
    assert.equal(typeof step.resendable_without_cvc, 'boolean')
  }
  assert.equal(new Set(connector.reference_fields).size, connector.reference_fields.length)
  for (const field of connector.reference_fields) assert.match(field, /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/)
  for (const field of connector.reference_fields) {
    const exempts = connector.reference_fields.filter((other) => other.startsWith(`${field}.`))
    assert.deepEqual(exempts, [], `${field} would exempt a whole object from the card-number detector`)
  }
  const operations = [
    ...['psp', 'verify', 'idempotency_key_lifetime_hours', 'is_saved_answer', 'reference_fields'],
    ...[...operationFiles, 'psp_tokens'],
  ]
  assert.deepEqual(
    Object.keys(connector).filter((name) => !operations.includes(name)),
    [],
  )
}

function requestTests(connector: Connector): void {
  test('a request is relative, with lower-case headers, and leaves the host to the vault', () => {
    for (const { name, request } of requestsOf(connector, authorizeInput())) {
      assert.match(request.path, /^\/(?!\/)/, name)
      assert.doesNotMatch(request.path, /[\s#]/, name)
      for (const header of Object.keys(request.headers)) {
        assert.equal(header, header.toLowerCase(), name)
        assert.ok(
          !['host', 'content-type', 'content-length', 'cookie'].includes(header),
          `${name}: ${header}`,
        )
      }
      if (request.method === 'GET') assert.equal(request.body, null, name)
    }
  })

  test('a request has known marks only, card marks in the body only, optional ones alone', () => {
    for (const { name, request } of requestsOf(connector, authorizeInput())) {
      for (const [where, written, value] of marksIn(request)) {
        const mark = written.replace(/\?$/, '')
        assert.ok(
          marks.some((known) => known === mark),
          `${name}: unknown mark ${written} in ${where}`,
        )
        assert.notEqual(where, 'path', `${name}: a URL ends up in logs`)
        if (mark.startsWith('card.')) assert.ok(where.startsWith('body '), `${name}: ${written} in ${where}`)
        if (written.endsWith('?')) assert.equal(value, `{{${written}}}`, `${name}: optional inside a value`)
      }
    }
  })

  test('the secret and the card stand in a request as marks and never as values', () => {
    for (const { name, request } of requestsOf(connector, authorizeInput())) {
      const written = marksIn(request).map(([, mark]) => mark)
      assert.ok(written.includes('connection.secret'), `${name} carries no secret`)
      for (const [header, value] of Object.entries(request.headers)) {
        if (!/authorization|api-key|secret|token|password/.test(header)) continue
        assert.match(value, /^([A-Za-z]+ )?\{\{connection\.secret\}\}$/, `${name}: ${header}`)
      }
      for (const [where, value] of requestValues(request)) {
        assert.doesNotMatch(value, /\d{13,}/, `${name}: a long number in ${where}`)
      }
    }
  })

  test('only the steps before and at the money see the card, and exactly one sees its number', () => {
    const seers = requestsOf(connector, authorizeInput()).filter(({ request }) =>
      marksIn(request).some(([, mark]) => mark === 'card.number'),
    )
    assert.equal(seers.length, 1)
    assert.match(seers[0]!.name, /^authorize /)
  })
}

function replayTests(connector: Connector): void {
  test('no merchant text can bring a mark into a request', () => {
    const plain = requestsOf(connector, authorizeInput()).map(({ request }) => marksIn(request).length)
    const evil = [
      '{{card.number}}',
      '{{{card.number}}}',
      '{{connection.secret}}',
      '{ {{card.cvc?}} }',
      '{{{{',
    ]
    for (const merchant_reference of evil) {
      const requests = requestsOf(connector, authorizeInput({ merchant_reference }))
      assert.deepEqual(
        requests.map(({ request }) => marksIn(request).length),
        plain,
        merchant_reference,
      )
      const values = requests.flatMap(({ request }) => requestValues(request))
      const known = requestsOf(connector, authorizeInput()).flatMap(({ request }) => requestValues(request))
      const added = values.filter(
        ([where, value]) => !known.some(([at, was]) => at === where && was === value),
      )
      for (const [where, value] of added) assert.ok(!value.includes('{{'), `${where}: ${value}`)
    }
  })

  test('a request that moves money carries the key under which the PSP does it once', () => {
    for (const { name, moves_money, request } of requestsOf(connector, authorizeInput())) {
      const carries = requestValues(request).some(([, value]) => value.includes('att_01jqzk3x5w:step'))
      if (moves_money) assert.ok(carries, name)
      if (request.method === 'GET') assert.ok(!carries, `${name}: a look-up must never be replayed`)
    }
  })

  test('the same input gives the same request, so a re-send is a re-send', () => {
    fc.assert(
      fc.property(authorizeInputs('USD'), (input) => {
        const frozen = Object.freeze({ ...input, amount: Object.freeze({ ...input.amount }) })
        assert.deepEqual(requestsOf(connector, frozen), requestsOf(connector, structuredClone(input)))
      }),
    )
  })
}

/** For an amount of zero; a verification shares the rules of an authorization. */
function verificationTests(steps: Step<AuthorizeInput>[]): void {
  const input = authorizeInput({ amount: { amount_minor: 0n, currency: 'USD' } })
  const context = stepContext(anyAnswers)

  test('a verification sends the card once, under the key of its step, and the same each time', () => {
    const requests = steps.map((step) => step.request(input, context))
    assert.deepEqual(
      requests,
      steps.map((step) => step.request(structuredClone(input), context)),
    )
    const seers = requests.filter((request) => marksIn(request).some(([, mark]) => mark === 'card.number'))
    assert.equal(seers.length, 1)
    const last = requestValues(requests.at(-1)!)
    assert.ok(last.some(([, value]) => value.includes('att_01jqzk3x5w:step')))
    assert.equal(steps.at(-1)!.moves_money, true, 'what the issuer said would not be looked up')
  })

  test('a verification is believed for nothing but an amount of zero, and never in doubt', () => {
    fc.assert(
      fc.property(answers, (response) => {
        for (const step of steps) {
          const told = step.response(response, input)
          if (told.kind !== 'continue') checkOutcome(told, input)
          if (step.moves_money && response.status >= 500) assert.equal(told.kind, 'unknown')
        }
      }),
    )
  })
}

function amountTests(connector: Connector): void {
  const moneySteps = connector.authorize.filter((step) => step.moves_money)
  const fields = (step: Step<AuthorizeInput>, input: AuthorizeInput) =>
    requestValues(step.request(input, stepContext(anyAnswers)))

  for (const [currency, step] of [
    ['JPY', 1n],
    ['USD', 1n],
    ['KWD', 10n],
  ] as const) {
    test(`an amount in ${currency} is sent exactly: its digits, no rounding, no exponent`, () => {
      fc.assert(
        fc.property(authorizeInputs(currency, step), fc.nat(1_000_000), (input, more) => {
          const { amount_minor } = input.amount
          const digits = String(amount_minor).replace(/0+$/, '')
          const other = {
            ...input,
            amount: { currency, amount_minor: amount_minor + step * BigInt(more + 1) },
          }
          for (const moneyStep of moneySteps) {
            const sent = fields(moneyStep, input)
            const bare = sent.map(([, value]) => value.replace('.', '').replace(/0+$/, '').replace(/^0+/, ''))
            assert.ok(bare.includes(digits), `${digits} is nowhere in ${JSON.stringify(sent)}`)
            assert.ok(sent.some(([, value]) => value.toUpperCase() === currency))
            if (other.amount.amount_minor <= amountMinorMax)
              assert.notDeepEqual(fields(moneyStep, other), sent)
          }
        }),
      )
    })
  }
}

function checkOutcome(outcome: Outcome, input: AuthorizeInput): void {
  if (outcome.kind === 'approved') {
    assert.equal(outcome.amount.currency, input.amount.currency)
    assert.ok(outcome.amount.amount_minor <= input.amount.amount_minor)
  }
  if (outcome.kind === 'declined') {
    assert.ok(declineReasons.includes(outcome.decline.reason))
    assert.ok(declineActions.includes(outcome.decline.action))
    assert.notEqual(outcome.decline.psp_code, '')
  }
  if (outcome.kind === 'rejected') assert.notEqual(outcome.psp_code, '')
  if (outcome.kind === 'unknown') assert.match(outcome.cause, /^[a-z][a-z0-9_]*$/)
}

function checkOperationOutcome(outcome: OperationOutcome): void {
  if (outcome.kind === 'rejected') assert.notEqual(outcome.psp_code, '')
  if (outcome.kind === 'unknown') assert.match(outcome.cause, /^[a-z][a-z0-9_]*$/)
}

function answerTests(connector: Connector): void {
  test('no answer, however odd, throws', () => {
    fc.assert(
      fc.property(answers, (response) => {
        for (const step of connector.authorize) {
          const result = step.response(response, authorizeInput())
          if (result.kind !== 'continue') checkOutcome(result, authorizeInput())
        }
        const found = connector.sync?.response(response, syncInput())
        if (found !== undefined && found.kind !== 'absent') checkOutcome(found, syncInput())
        for (const [, operation] of operationsOf(connector)) {
          checkOperationOutcome(operation.response(response, operationInput()))
          const looked = operation.look_up?.response(response, operationLookUp())
          if (looked !== undefined && looked.kind !== 'absent') checkOperationOutcome(looked)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('a server error or an unreadable answer to a step that moves money is unknown, nothing else', () => {
    fc.assert(
      fc.property(answers, fc.integer({ min: 500, max: 599 }), (response, status) => {
        const bad = isJsonObject(response.body) ? { ...response, status } : response
        for (const step of connector.authorize.filter((each) => each.moves_money)) {
          assert.equal(step.response(bad, authorizeInput()).kind, 'unknown')
        }
        for (const [name, operation] of operationsOf(connector))
          assert.equal(operation.response(bad, operationInput()).kind, 'unknown', name)
      }),
      { numRuns: 1000 },
    )
  })

  test('a step that moves no money never leaves a doubt about money', () => {
    fc.assert(
      fc.property(answers, (response) => {
        for (const step of connector.authorize.filter((each) => !each.moves_money)) {
          const { kind } = step.response(response, authorizeInput())
          assert.ok(['continue', 'declined', 'rejected'].includes(kind), kind)
        }
      }),
    )
  })

  test('a look-up that failed says nothing about the payment', () => {
    fc.assert(
      fc.property(answers, fc.integer({ min: 400, max: 599 }), (response, status) => {
        const bad = isJsonObject(response.body) ? { ...response, status } : response
        const found = connector.sync?.response(bad, syncInput({ last_answer: 'server_error' }))
        if (found !== undefined) assert.equal(found.kind, 'unknown')
        for (const [name, { look_up }] of operationsOf(connector)) {
          const looked = look_up?.response(bad, operationLookUp({ last_answer: 'server_error' }))
          if (looked !== undefined) assert.equal(looked.kind, 'unknown', name)
        }
      }),
      { numRuns: 1000 },
    )
  })
}
