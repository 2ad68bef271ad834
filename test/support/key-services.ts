/** The simulated key services for a test, with what it needs to use them and to break them. */
import assert from 'node:assert/strict'
import { sandboxKeyArn } from '../../simulators/keys/kms.ts'
import { sandboxKeyName, sandboxToken } from '../../simulators/keys/openbao.ts'
import { startKeyServices } from '../../simulators/start-key-services.ts'
import type { Scope } from './postgres.ts'

export const kmsKeyArn = sandboxKeyArn
export const openBaoKeyName = sandboxKeyName
export const openBaoToken = sandboxToken

export type KeyFault = 'slow' | 'hang' | 'reset' | 'server_error' | 'throttled' | 'denied'

/** For this process, as a role of an instance would give them. */
function takeAwsCredentials(): void {
  process.env['AWS_ACCESS_KEY_ID'] = 'AKIDEXAMPLE'
  process.env['AWS_SECRET_ACCESS_KEY'] = 'of nobody'
}

export async function startTestKeyServices(scope: Scope) {
  takeAwsCredentials()
  const services = await startKeyServices({ host: '127.0.0.1' })
  scope.after(() => services.stop())
  return services
}

/** Until it is set to another one, or to none. */
export async function setKeyFault(url: string, kind: KeyFault | undefined): Promise<void> {
  const sent =
    kind === undefined
      ? { method: 'DELETE' }
      : {
          method: 'PUT',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ kind }),
        }
  const { status } = await fetch(`${url}/_sim/faults`, sent)
  assert.equal(status, 200)
}

/** Those that were made of the service so far. */
export async function keyCallsOf(url: string): Promise<number> {
  return ((await (await fetch(`${url}/_sim/faults`)).json()) as { calls: number }).calls
}

/** As an administrator of OpenBao posts. */
export async function postToOpenBao(
  url: string,
  path: string,
  body: object = {},
  token: string = sandboxToken,
): Promise<unknown> {
  const headers = { 'x-vault-token': token, 'content-type': 'application/json' }
  const answer = await fetch(`${url}/v1/${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  assert.ok(answer.ok, await answer.clone().text())
  return answer.status === 204 ? undefined : await answer.json()
}
