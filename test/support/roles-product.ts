/**
 * The whole product for a test file as it is run in earnest: a process a role, an installed PostgreSQL that knows
 * nothing of Coffer, and one address in front.
 */
import assert from 'node:assert/strict'
import { findSimulators } from '@coffer/simulators/start-simulators.ts'
import { startLoadBalancer } from './load-balancer.ts'
import type { Exit, Product, SandboxFile, Scope, StartOptions } from './product.ts'
import { startRoleProcesses } from './role-processes.ts'

const places = ['access', 'vault', 'platform', 'simulators'] as const

export async function startRolesProduct(scope: Scope, options: StartOptions): Promise<Product> {
  const roles = await startRoleProcesses(scope, { installed: true, environment: options.environment ?? {} })
  // Health and metrics of a role are not in front of clients, but the tests of a sandbox ask for them there.
  const isAdmin = (path: string) => /^\/(healthz|readyz|metrics)/.test(path)
  const front = await startLoadBalancer(scope, (path) => [
    isAdmin(path) ? roles.at.vault.admin_url : roles.urlOf(path),
  ])
  const { secrets, server } = roles.postgres
  const sandbox: SandboxFile = {
    api_url: front.url,
    secret_key: secrets.environment['FIRST_SECRET_KEY']!,
    simulators: { ...roles.simulatorUrls(), stripe: roles.simulator_url },
    postgres: {
      host: server.host,
      port: server.port,
      superuser: 'postgres',
      password: secrets.superuser_password,
    },
    pid: process.pid,
  }
  await connectSimulators(sandbox, options.environment?.['COFFER_SIMULATOR_WEBHOOKS'] === 'on')
  const running = places.map((place) => roles.running(place)!)
  return {
    data_directory: roles.folder,
    sandbox,
    output: () => running.map((role) => role.output()).join('\n'),
    async stop(): Promise<Exit> {
      for (const place of ['platform', 'vault', 'access', 'simulators'] as const) await roles.stop(place)
      return { code: 0, signal: null }
    },
    async kill() {
      await Promise.all(places.map((place) => roles.kill(place)))
    },
  }
}

/** What a sandbox does for its first merchant. */
async function connectSimulators(
  { api_url, secret_key, simulators }: SandboxFile,
  areWebhooksOn: boolean,
): Promise<void> {
  for (const { psp, sandbox } of await findSimulators()) {
    const { name, secret, webhook_secret, settings } = sandbox
    const answer = await fetch(`${api_url}/v1/connections`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret_key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ psp, name, base_url: simulators[psp], secret, webhook_secret, settings }),
    })
    const text = await answer.text()
    assert.equal(answer.status, 201, text)
    if (!areWebhooksOn) continue
    const url = `${api_url}/v1/psp_webhooks/${JSON.parse(text).id}`
    const body = JSON.stringify({ url, secret: webhook_secret })
    const told = await fetch(`${simulators[psp]}/_sim/webhooks`, { method: 'PUT', body })
    assert.equal(told.status, 200, await told.text())
  }
}
