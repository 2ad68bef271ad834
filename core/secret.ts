import { inspect } from 'node:util'

/** Holds a value that must not reach a log, a JSON body or an error message by accident. */
export class Secret<Value> {
  readonly #value: Value
  constructor(value: Value) {
    this.#value = value
  }
  /** The value itself. Every call is a place to review. */
  expose(): Value {
    return this.#value
  }
  toString(): string {
    return '[secret]'
  }
  toJSON(): string {
    return '[secret]'
  }
  [inspect.custom](): string {
    return '[secret]'
  }
}
