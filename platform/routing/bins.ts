/** First digits of card numbers, as rules write them: `4242`, or `510000-559999`. */
export type Bins = { length: number; first: string; last: string }

export function binsOf(text: string): Bins {
  const [first = '', last = first] = text.split('-')
  return { length: first.length, first, last }
}

/** Both ends to eight digits: what begins like them lies between. */
function widened({ first, last }: Bins) {
  return { first: Number(first.padEnd(8, '0')), last: Number(last.padEnd(8, '9')) }
}

/** Whether every number in `inner` is in one of `outer`, as far as one of them alone tells. */
export function covers(outer: readonly string[], inner: string): boolean {
  const wanted = widened(binsOf(inner))
  return outer.some((text) => {
    const bins = binsOf(text)
    const { first, last } = widened(bins)
    // A longer prefix asks for digits that a card may not have told.
    return bins.length <= binsOf(inner).length && first <= wanted.first && last >= wanted.last
  })
}
