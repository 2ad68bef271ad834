/**
 * What a connector's own work takes: making the requests of a payment and a capture, and reading their answers. The
 * answers are real ones of the PSPs' simulators, asked once before the clock runs.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConnectors } from '@coffer/connectors/directory.ts'
import { authorizeInput, operationInput, syncInput } from '@coffer/connectors/test-inputs.ts'
import type { Connector, HttpRequest, HttpResponse, StepContext } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import { findSimulators, type SandboxAccount, start } from '@coffer/simulators/start-simulators.ts'
import { fillRequest } from '@coffer/vault/forward/marks.ts'

export type TransformResult = { psp: string; transform: string; mean_us: number; within: boolean }

/** The target of the payments: 0.1 ms each. */
const targetUs = 100
const warmUpRuns = 2_000
const runs = 20_000

type Psp = { connector: Connector; url: string; account: SandboxAccount }

export async function measureTransforms(): Promise<TransformResult[]> {
  const data_directory = mkdtempSync(join(tmpdir(), 'coffer-transforms-'))
  const simulators = await start({ host: '127.0.0.1', port: 0, data_directory })
  try {
    const connectors = await loadConnectors()
    const results: TransformResult[] = []
    for (const { psp, sandbox } of await findSimulators()) {
      const url = simulators.running.find((running) => running.psp === psp)!.url
      results.push(...(await measureOne({ connector: connectors.get(psp)!, url, account: sandbox })))
    }
    return results
  } finally {
    await simulators.stop()
    rmSync(data_directory, { recursive: true })
  }
}

async function measureOne(psp: Psp): Promise<TransformResult[]> {
  const { connector } = psp
  const results: TransformResult[] = []
  const measure = (transform: string, work: () => unknown) => {
    for (let run = 0; run < warmUpRuns; run++) work()
    const started_ms = performance.now()
    for (let run = 0; run < runs; run++) work()
    const mean_us = Math.round(((performance.now() - started_ms) * 10_000) / runs) / 10
    results.push({ psp: connector.psp, transform, mean_us, within: mean_us <= targetUs })
  }
  const input = authorizeInput({ attempt_id: newId('attempt'), capture: 'manual' })
  const context: StepContext = {
    account: { connection_id: 'con_1', settings: psp.account.settings },
    psp_idempotency_key: newId('attempt'),
    answers: {},
  }
  let reference = ''
  for (const step of connector.authorize) {
    const sent = { ...context, psp_idempotency_key: `${input.attempt_id}:${step.name}` }
    const answer = await ask(psp, step.request(input, sent))
    const told = step.response(answer, input)
    if (told.kind === 'continue') Object.assign(context.answers, told.answers)
    else if (told.kind === 'approved') reference = told.psp_reference
    else throw new Error(`${connector.psp}: the simulator did not approve, but ${JSON.stringify(told)}`)
    measure(`${step.name}: request`, () => step.request(input, sent))
    measure(`${step.name}: answer`, () => step.response(answer, input))
  }
  const { sync, capture } = connector
  if (sync !== undefined) {
    const asked = syncInput({ ...input })
    const answer = await ask(psp, sync.request(asked, context))
    measure('look-up: request', () => sync.request(asked, context))
    measure('look-up: answer', () => sync.response(answer, asked))
  }
  if (capture !== undefined) {
    const asked = operationInput({ operation_id: newId('operation'), payment_psp_reference: reference })
    const answer = await ask(psp, capture.request(asked, context))
    measure('capture: request', () => capture.request(asked, context))
    measure('capture: answer', () => capture.response(answer, asked))
  }
  return results
}

/** As the vault would: the marks filled with a published test card. */
async function ask({ url, account }: Psp, request: HttpRequest): Promise<HttpResponse> {
  const { method, path, headers, body } = fillRequest(request, {
    'card.number': '4242424242424242',
    'card.exp_month': '12',
    'card.exp_month_number': '12',
    'card.exp_year': '2049',
    'card.exp_year_number': '2049',
    'connection.secret': account.secret,
  })
  const answer = await fetch(url + path, { method, headers, body })
  return { status: answer.status, headers: {}, body: await answer.text() }
}
