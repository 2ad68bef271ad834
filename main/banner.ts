import type { Sandbox } from './sandbox.ts'

/** What a newcomer needs on the first screen. The curl works as printed. */
export function banner(sandbox: Sandbox, dataDirectory: string, startMs: number): string {
  const { api_url, secret_key, postgres } = sandbox
  return `
  Coffer is ready (${(startMs / 1000).toFixed(1)} s)            sandbox: never put real cards here

  API          ${api_url}
  Reference    ${api_url}/docs
  Event log    ${api_url}/v1/events
  Metrics      ${api_url}/metrics
  Simulators   ${sandbox.simulators.map(({ psp, url }) => `${psp} at ${url}`).join('\n               ')} (ledger: /_sim/ledger)
${people(sandbox)}  PostgreSQL   ${postgres.host}:${postgres.port} (superuser: see ${dataDirectory}/sandbox.json)
  Data folder  ${dataDirectory}
  Secret key   ${secret_key}
${sandbox.is_sealed ? `  Vault        sealed: custodians give their shares by coffer unseal\n` : ''}
  Keep a card:

  curl -s ${api_url}/v1/cards \\
    -H 'Authorization: Bearer ${secret_key}' \\
    -H 'Content-Type: application/json' \\
    -d '{"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}'

  Stop with Ctrl-C.
`
}

/** Empty where they sign in elsewhere. */
const people = ({ identity_provider: url }: Sandbox): string =>
  url === undefined ? '' : `  People       ${url}/token?subject=ada signs anybody in\n`
