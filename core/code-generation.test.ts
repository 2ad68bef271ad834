import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

/** In a process of its own: what is shut stays shut. */
function triedInAProcess(attempts: string[]): string[] {
  const script = `
    const early = new Function('a', 'return a + 1')
    const { forbidCodeGeneration } = await import(${JSON.stringify(import.meta.resolve('./code-generation.ts'))})
    forbidCodeGeneration()
    const results = ${JSON.stringify(attempts)}.map((_, index) => {
      try { return String(attempts[index](early)) } catch (error) { return error.name }
    })
    console.log(JSON.stringify(results))`
  const functions = `const attempts = [${attempts.map((attempt) => `(early) => ${attempt}`).join(', ')}]\n`
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', functions + script], {
    encoding: 'utf8',
  })
  assert.equal(child.status, 0, child.stderr)
  return JSON.parse(child.stdout) as string[]
}

test('SEC-30: code cannot be made from text any more, whichever way it is reached', () => {
  const ways = [
    "new Function('return 1')()",
    "Function('return 1')()",
    "eval('1')",
    "(0, eval)('1')",
    "globalThis.eval('1')",
    "(() => {}).constructor('return 1')()",
    "({}).constructor.constructor('return 1')()",
    "[].map.constructor('return 1')()",
    "(async () => {}).constructor('return 1')()",
    "(function* () {}).constructor('return 1')()",
    "(async function* () {}).constructor('return 1')()",
    "Object.getPrototypeOf(async function () {}).constructor('return 1')()",
    "Function.prototype.constructor('return 1')()",
    "Reflect.construct(Function, ['return 1'])()",
    '(globalThis.Function = 1)',
    "Object.defineProperty(Function.prototype, 'constructor', { value: 1 })",
  ]
  const results = triedInAProcess(ways)
  for (const [index, result] of results.entries())
    assert.match(result, /^(EvalError|TypeError)$/, `${ways[index]}: ${result}`)
})

test('what was compiled before goes on working, and functions are functions', () => {
  assert.deepEqual(
    triedInAProcess(['early(1)', '(() => {}) instanceof Function', 'typeof Function.prototype.call']),
    ['2', 'true', 'function'],
  )
})
