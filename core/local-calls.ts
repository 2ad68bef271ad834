/**
 * Calls between roles that share a process. Over HTTP such a call would cost more than what it asks for: four system
 * calls, two parsers, and waiting for a turn of the event loop twice. What is asked, who may ask and what comes back are
 * the same.
 */
import { Failure } from './errors.ts'
import type { TokenCheck } from './http-server.ts'
import { CommitUnknown } from './postgres.ts'
import { currentRequestId } from './trace.ts'

/** The work behind an internal route, for any of our roles that may call it. */
export type LocalCall = {
  service: readonly string[]
  run(body: never, role: string, requestId: string): Promise<unknown>
}

export type LocalCalls = Record<string, LocalCall>

type Served = { call: LocalCall; tokenCheck: TokenCheck }

/** By address, as in `http://127.0.0.1:8201/internal/forwards`: only who would reach this very process calls locally. */
const served = new Map<string, Served>()

/** @returns ends it. */
export function serveLocally(
  origin: string,
  { localCalls = {}, tokenCheck }: { localCalls?: LocalCalls; tokenCheck: TokenCheck },
): () => void {
  const paths = Object.keys(localCalls)
  for (const path of paths) served.set(origin + path, { call: localCalls[path]!, tokenCheck })
  return () => {
    for (const path of paths) served.delete(origin + path)
  }
}

/** Undefined where the call has to go over the network. */
export function findLocalCall(origin: string, path: string) {
  const found = served.get(origin + path)
  return found && ((bearer: string, body: unknown) => callLocally(found, bearer, body))
}

/** @throws Failure as the route would answer it. */
async function callLocally({ call, tokenCheck }: Served, bearer: string, body: unknown): Promise<unknown> {
  const { role } = await tokenCheck.service(bearer)
  if (!call.service.includes(role)) throw new Failure('forbidden')
  try {
    return await call.run(body as never, role, currentRequestId())
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure(error instanceof CommitUnknown ? 'outcome_unknown' : 'internal_error', { cause: error })
  }
}
