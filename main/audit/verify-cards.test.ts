import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CardHashes, cardProblem } from './verify-cards.ts'

/** Versions as `v1=a` (stored bytes), `v1=b<b` (whose data key was replaced, with what that wrote); the last is current. */
function card(versions: string[], written: string, has_creation = true): CardHashes {
  const parsed = versions.map((text) => /^(\w+)=(\w+)(?:<(\w+))?$/.exec(text)!)
  const bytes = (text: string) => Buffer.from(text)
  return {
    merchant_id: 'mer_1',
    card_id: 'card_1',
    card_version_id: parsed.at(-1)?.[1] ?? 'v1',
    version_ids: parsed.map(([, id]) => id!),
    version_hashes: parsed.map(([, , stored]) => bytes(stored!)),
    reencrypted_hashes: parsed.map(([, , , hash]) => (hash === undefined ? null : bytes(hash))),
    written_hashes: [...written].map(bytes),
    has_creation,
  }
}

test('SEC-06: what was stored is held against what the trail says was written last, whatever became of the card', () => {
  for (const [what, one, problem] of [
    ['just created', card(['v1=a'], 'a')],
    ['changed', card(['v1=a', 'v2=b'], 'ba')],
    ['its first number erased', card(['v2=b'], 'ba')],
    ['all erased', card([], 'ba')],
    ['data key replaced', card(['v1=x<x'], 'a')],
    ['data key replaced, then changed', card(['v1=x<x', 'v2=b'], 'ba')],
    ['changed, then data key replaced', card(['v1=x<x', 'v2=y<y'], 'ba')],
    ['imported', card(['v1=a'], '', false), 'unknown'],
    ['imported and changed', card(['v1=a', 'v2=b'], 'b', false)],
    ['imported, data key replaced', card(['v1=x<x'], '', false)],
    ['bytes of the key before', card(['v1=a<x'], 'a'), 'v1'],
    ['bytes of the version before', card(['v1=a', 'v2=a'], 'ba'), 'v2'],
    ['version before, the newest one removed', card(['v1=a'], 'ba'), 'v1'],
    ['bytes never written', card(['v1=z', 'v2=b'], 'ba'), 'v1'],
    ['imported and changed, the newest one removed', card(['v1=a'], 'b', false), 'v1'],
    ['pointing back', { ...card(['v1=a', 'v2=b'], 'ba'), card_version_id: 'v1' }, 'points to v1'],
  ] as const) {
    const found = cardProblem(one as CardHashes)
    if (problem === undefined) assert.equal(found, undefined, what)
    else assert.match(found ?? '', new RegExp(problem), what)
  }
})
