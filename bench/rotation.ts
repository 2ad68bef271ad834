/**
 * Rotation of every kind of key while cards are kept and read at a fixed rate: how many requests failed, how long they
 * took, how fast rows were put under the new key, and whether anything was left under an old one.
 */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startKeyServices } from '@coffer/simulators/start-key-services.ts'
import { request } from 'undici'
import { renderVerdicts, targetOf } from './full-vault.ts'
import type { LoadJob, LoadPart } from './load.ts'
import { type Bench, openPace, randomName } from './suite.ts'
import type { Verdict } from './verdicts.ts'

const RATE_OF_EACH = 1_000
const CARDS_A_SECOND = 200
const WARM_UP_MS = 3_000
const POLL_MS = 200
/** Longer than any rotation here takes. */
const ENDED_WITHIN_MS = 15 * 60_000

const kinds = ['data', 'fingerprint', 'wrapping'] as const
type Kind = (typeof kinds)[number]

type Rotation = {
  id: string
  kind: Kind
  state: 'running' | 'finished' | 'incomplete'
  rows_done: number
  errors: number
  started_at: string
  finished_at: string | null
}
export type RotationRun = {
  kind: Kind
  state: Rotation['state']
  rows: number
  errors: number
  seconds: number
  rows_per_second: number
  /** Begun and ended while requests came. */
  is_under_load: boolean
}
type Census = {
  data_keys: { rows: number; superseded_at: string | null }[]
  fingerprint_keys: { rows: number; superseded_at: string | null }[]
  wrapping_keys: { rows: number; is_current: boolean }[]
}
export type RotationResult = {
  cards_before: number
  parts: LoadPart[]
  runs: RotationRun[]
  /** Rows that are left under keys that were replaced, by kind. */
  left: Record<Kind, number>
  verdicts: Verdict[]
}

/** A key service in which the wrapping key can get a new version while everything runs. */
export async function startWrappingService(folder: string) {
  const service = await startKeyServices({ host: '127.0.0.1' })
  const tokenFile = join(folder, 'openbao-token')
  writeFileSync(tokenFile, service.openbao_token, { mode: 0o600 })
  const { openbao_url, openbao_key_name, openbao_token } = service
  return {
    environment: {
      VAULT_KEY_PROVIDER: 'openbao',
      VAULT_OPENBAO_URL: openbao_url,
      VAULT_OPENBAO_TOKEN_PATH: tokenFile,
      VAULT_OPENBAO_KEY: openbao_key_name,
    },
    async newVersion() {
      const headers = { 'x-vault-token': openbao_token }
      const url = `${openbao_url}/v1/transit/keys/${openbao_key_name}/rotate`
      const answer = await request(url, { method: 'POST', headers })
      const text = await answer.body.text()
      if (answer.statusCode >= 300) throw new Error(`the key service answered ${answer.statusCode}: ${text}`)
    },
    stop: service.stop,
  }
}
export type WrappingService = Awaited<ReturnType<typeof startWrappingService>>

export async function measureRotation(bench: Bench, wrapping: WrappingService): Promise<RotationResult> {
  const { options, progress } = bench
  const seconds = options.rotation_seconds!
  const cards_before = options.rotation_cards ?? CARDS_A_SECOND * seconds
  const target = targetOf(bench)
  progress.begin(`making ${cards_before} cards`)
  await bench.generator.makeCards({
    target,
    connections: options.connections,
    count: cards_before,
    run: randomName(),
  })
  progress.begin(`${RATE_OF_EACH} tokenize and ${RATE_OF_EACH} get a second for ${seconds} s, and rotations`)
  const opened = Promise.withResolvers<void>()
  const load = { is_on: true }
  const job: LoadJob = {
    target,
    scenarios: [
      { name: 'tokenize', weight: 1 },
      { name: 'get', weight: 1 },
    ],
    connections: options.connections,
    pace: openPace(2 * RATE_OF_EACH, 'even'),
    warm_up_ms: WARM_UP_MS,
    window_ms: seconds * 1_000,
  }
  const loading = bench.generator.load(job, {
    onWindowOpen: opened.resolve,
    onWindowClose: () => {
      load.is_on = false
    },
    onProgress: progress.update,
  })
  loading.catch((error: unknown) => opened.reject(error))
  await opened.promise
  // Another failure than the load's own is told by the load, which ends anyway.
  const [{ parts }, runs] = await Promise.all([loading, rotateWhile(bench, wrapping, load)])
  progress.begin('counting rows by key')
  const left = leftOf(await callOf(bench)<Census>('GET', '/v1/keys'))
  return { cards_before, parts, runs, left, verdicts: judge(parts, runs, left) }
}

/** Kind after kind, each at least once, over and over as long as requests come. */
async function rotateWhile(
  bench: Bench,
  wrapping: WrappingService,
  load: { is_on: boolean },
): Promise<RotationRun[]> {
  const call = callOf(bench)
  const runs: RotationRun[] = []
  while (load.is_on || runs.length < kinds.length) {
    const kind = kinds[runs.length % kinds.length]!
    if (kind === 'wrapping') await wrapping.newVersion()
    let rotation = await call<Rotation>('POST', '/v1/keys/rotations', { kind })
    const giveUpMs = performance.now() + ENDED_WITHIN_MS
    while (rotation.state === 'running') {
      if (performance.now() > giveUpMs) throw new Error(`the rotation of ${kind} keys does not end`)
      await delay(POLL_MS)
      rotation = await call<Rotation>('GET', `/v1/keys/rotations/${rotation.id}`)
    }
    const ms = Date.parse(rotation.finished_at!) - Date.parse(rotation.started_at)
    runs.push({
      kind,
      state: rotation.state,
      rows: rotation.rows_done,
      errors: rotation.errors,
      seconds: Math.round(ms / 100) / 10,
      rows_per_second: Math.round((rotation.rows_done * 1_000) / Math.max(ms, 1)),
      is_under_load: load.is_on,
    })
    bench.progress.note(`  ${kind}: ${rotation.state}, ${rotation.rows_done} rows in ${ms / 1_000} s`)
  }
  return runs
}

function callOf({ product }: Bench) {
  const { api_url, secret_key } = product.sandbox
  return async <Body>(method: 'GET' | 'POST', path: string, body?: object): Promise<Body> => {
    const authorization = `Bearer ${secret_key}`
    const sent =
      body === undefined
        ? { headers: { authorization } }
        : {
            headers: {
              authorization,
              'content-type': 'application/json',
              'idempotency-key': randomUUID(),
            },
            body: JSON.stringify(body),
          }
    const answer = await request(`${api_url}${path}`, { method, ...sent })
    const text = await answer.body.text()
    if (answer.statusCode >= 300) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text}`)
    return JSON.parse(text)
  }
}

function leftOf(census: Census): Record<Kind, number> {
  const sum = (keys: { rows: number }[]) => keys.reduce((rows, key) => rows + key.rows, 0)
  return {
    data: sum(census.data_keys.filter((key) => key.superseded_at !== null)),
    fingerprint: sum(census.fingerprint_keys.filter((key) => key.superseded_at !== null)),
    wrapping: sum(census.wrapping_keys.filter((key) => !key.is_current)),
  }
}

/** @param runs in the order they were made: each kind is judged by one that began and ended under load. */
export function judge(parts: LoadPart[], runs: RotationRun[], left: Record<Kind, number>): Verdict[] {
  const isWhole = kinds.every((kind) => runs.some((run) => run.kind === kind && run.is_under_load))
  const errors = parts.reduce((sum, part) => sum + part.errors, 0)
  const isRated = parts.every((part) => part.requests > 0)
  const rows_left = Object.values(left).reduce((sum, rows) => sum + rows, 0)
  const bad = runs.filter((run) => run.state !== 'finished' || run.errors > 0).length
  return [
    {
      what: 'requests that failed while all keys were rotated',
      target: '0',
      measured: String(errors),
      met: isWhole && isRated ? errors === 0 : undefined,
    },
    { what: 'rotations that did not finish', target: '0', measured: String(bad), met: bad === 0 },
    { what: 'rows under older keys', target: '0', measured: String(rows_left), met: rows_left === 0 },
  ]
}

export function renderRotation({ cards_before, parts, runs, left, verdicts }: RotationResult): string {
  const requests = parts.map(({ scenario, requests_per_second, latency_ms, errors, error_kinds }) => {
    const { p50, p99, max } = latency_ms
    const times = `p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)}, at most ${max.toFixed(1)} ms`
    const failed = error_kinds
      .map(({ what, count, example }) => `\n  ${count} × ${what}: ${example}`)
      .join('')
    return `${scenario}: ${Math.round(requests_per_second)}/s, ${times}, ${errors} errors${failed}`
  })
  const rotations = runs.map((run) => {
    const when = run.is_under_load ? '' : ', ended after the load'
    const errors = run.errors === 0 ? '' : `, ${run.errors} rows do not open`
    return `${run.kind}: ${run.state}, ${run.rows} rows in ${run.seconds} s, ${run.rows_per_second} rows/s${errors}${when}`
  })
  const rows = kinds.map((kind) => `${kind} ${left[kind]}`).join(', ')
  return [
    `${cards_before} cards before`,
    ...requests,
    ...rotations,
    `rows under older keys: ${rows}`,
    '',
    renderVerdicts(verdicts),
  ].join('\n')
}
