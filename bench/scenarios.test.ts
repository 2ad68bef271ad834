import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cardNumber, createRequestWriter, scenarios } from './scenarios.ts'

function luhnSum(digits: string): number {
  const weighed = [...digits]
    .toReversed()
    .map((digit, i) => (i % 2 === 0 ? Number(digit) : Number(digit) * 2))
  return weighed.reduce((sum, digit) => sum + (digit > 9 ? digit - 9 : digit), 0)
}

test('made-up card numbers are distinct, Luhn-valid and under the test prefix', () => {
  const numbers = Array.from({ length: 20_000 }, (_, i) => cardNumber(i * 997))
  assert.equal(new Set(numbers).size, numbers.length)
  for (const number of numbers) {
    assert.match(number, /^424242\d{10}$/)
    assert.equal(luhnSum(number) % 10, 0)
  }
})

test('a written request announces exactly the bytes of its body', () => {
  const write = createRequestWriter({ host: '127.0.0.1', port: 80, secret_key: 'sk_test_x' })
  for (const scenario of Object.values(scenarios)) {
    const [head, body] = write(scenario, { number: 12, run: 'abcdef', card: 'card_1' }).split('\r\n\r\n')
    const announced = /content-length: (\d+)/.exec(head!)?.[1] ?? '0'
    assert.equal(Buffer.byteLength(body!), Number(announced), scenario.name)
  }
})
