/** Characters for made-up texts. */
import fc from 'fast-check'

const surrogates_begin = 0xd800
const surrogates = 0x800

/**
 * Any character of Unicode: what `fc.string({ unit: 'binary' })` takes, which makes a table of the 1.1 million of them
 * in each process before the first text. Names such as `__proto__` are among the texts as they are among its own.
 */
export const anyCharacter: fc.Arbitrary<string> = fc.nat(0x10ffff - surrogates).map(
  (index) => String.fromCodePoint(index < surrogates_begin ? index : index + surrogates),
  (text) => {
    const code = typeof text === 'string' ? text.codePointAt(0) : undefined
    if (code === undefined || text !== String.fromCodePoint(code)) throw new Error('not one character')
    return code < surrogates_begin ? code : code - surrogates
  },
)
