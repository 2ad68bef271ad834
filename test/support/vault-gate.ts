/**
 * A way to the vault on which a call can be held: before it gets there, or its answer on the way back. So a test
 * can stop a platform at exactly that moment, and let the call go on when the world has changed.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { request } from 'undici'
import type { Scope } from './postgres.ts'

export type Passage = { path: string; body: string }
type Matches = (passage: Passage, answer: string | undefined) => boolean

export type Held = {
  /** Resolves when a call is held. */
  reached: Promise<void>
  release(): void
  /** What the vault answered, once it has. */
  answered: Promise<string>
}

export type VaultGate = {
  url: string
  /** Holds the first call that matches, on its way there or back. */
  hold(way: 'there' | 'back', matches: Matches): Held
}

type Waiting = {
  way: 'there' | 'back'
  matches: Matches
  reach(): void
  released: Promise<void>
  tell(answer: string): void
}

export async function startVaultGate(scope: Scope, vaultUrl: string): Promise<VaultGate> {
  const waiting = new Set<Waiting>()
  /** Everything held may go at the end, whatever the test came to. */
  const releases: (() => void)[] = []

  function take(way: Waiting['way'], passage: Passage, answer?: string): Waiting | undefined {
    const held = [...waiting].find((each) => each.way === way && each.matches(passage, answer))
    if (held !== undefined) waiting.delete(held)
    held?.reach()
    return held
  }

  async function pass(incoming: IncomingMessage, reply: ServerResponse): Promise<void> {
    const passage = { path: incoming.url!, body: await textOf(incoming) }
    const there = take('there', passage)
    await there?.released
    const { authorization = '', 'content-type': type = 'application/json' } = incoming.headers
    const answer = await request(vaultUrl + passage.path, {
      method: 'POST',
      headers: { authorization, 'content-type': type },
      body: passage.body,
    })
    const text = await answer.body.text()
    there?.tell(text)
    const back = take('back', passage, text)
    back?.tell(text)
    await back?.released
    reply.writeHead(answer.statusCode, { 'content-type': String(answer.headers['content-type']) }).end(text)
  }

  const server = createServer((incoming, reply) => {
    pass(incoming, reply).catch(() => reply.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  scope.after(async () => {
    for (const release of releases) release()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold(way, matches) {
      const reached = Promise.withResolvers<void>()
      const released = Promise.withResolvers<void>()
      const answered = Promise.withResolvers<string>()
      releases.push(released.resolve)
      waiting.add({
        way,
        matches,
        reach: reached.resolve,
        released: released.promise,
        tell: answered.resolve,
      })
      return { reached: reached.promise, release: released.resolve, answered: answered.promise }
    },
  }
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of incoming) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}
