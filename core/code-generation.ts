/**
 * No code out of text any more. Schemas are compiled into functions when the routes are added; after that nothing
 * in a server has a reason to make code from strings, and whoever found a way to reach `constructor.constructor`
 * must find it shut. V8's own switch is read when a process begins, before the schemas are compiled, so this
 * closes the same doors from inside: `eval`, and the constructors of all four kinds of functions.
 */
export function forbidCodeGeneration(): void {
  const refused = function refused(): never {
    throw new EvalError('code is not made from text in this process')
  }
  const kinds = [() => {}, async () => {}, async function* asyncGenerator() {}, function* generator() {}].map(
    (each) => Object.getPrototypeOf(each) as object,
  )
  for (const prototype of kinds)
    Object.defineProperty(prototype, 'constructor', { value: refused, writable: false, configurable: false })
  // `instanceof Function` and `Function.prototype` are used everywhere, and go on working.
  const shut = new Proxy(Function, { apply: refused, construct: refused })
  for (const [name, value] of [
    ['Function', shut],
    ['eval', refused],
  ] as const)
    Object.defineProperty(globalThis, name, { value, writable: false, configurable: false })
}
