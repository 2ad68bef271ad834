/** Commands of those who keep the wrapping key in shares: making the shares, and giving one. */
import { request } from 'undici'
import { readUnsealConfig } from './settings.ts'

/** Prints the shares this once; they are kept nowhere. */
export async function splitKey(options: { shares: number; threshold: number }): Promise<void> {
  const { startKeyCeremony } = await import('@coffer/vault/start-key-ceremony.ts')
  const { settings, shares } = await startKeyCeremony(options)
  const parts = shares.map(
    (share, index) =>
      `# Share ${index + 1} of ${shares.length}; any ${options.threshold} make the key. For one custodian alone.\n${share}\n`,
  )
  process.stdout.write(
    `# Settings of the vault. They are not secret.\n${settings}\n` +
      '# The shares are printed this once and kept nowhere. Without enough of them every card is lost.\n\n' +
      parts.join('\n'),
  )
}

/** Takes the share from standard input: in an argument it would stand in the list of processes. */
export async function unseal(): Promise<void> {
  const config = await readUnsealConfig(process.env)
  const share = process.stdin.isTTY ? await typedShare() : await pipedShare()
  const answer = await request(`${config.COFFER_API_URL}/v1/keys/unseal`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${config.COFFER_API_KEY.expose()}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ share: share.trim() }),
  })
  const said = (await answer.body.json()) as {
    sealed?: boolean
    shares_given?: number
    shares_needed?: number | null
    title?: string
    detail?: string
  }
  if (answer.statusCode !== 200) throw new Error(said.detail ?? said.title ?? `HTTP ${answer.statusCode}`)
  process.stdout.write(
    said.sealed === true
      ? `The vault is still sealed: ${said.shares_given} of ${said.shares_needed} shares were given.\n`
      : 'The vault is open.\n',
  )
}

async function pipedShare(): Promise<string> {
  let text = ''
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk
    if (text.length > 1_000) throw new Error('a share is shorter than what came on standard input')
  }
  return text
}

/** Without showing it. */
function typedShare(): Promise<string> {
  process.stderr.write('Your share (it is not shown): ')
  const input = process.stdin.setRawMode(true).setEncoding('utf8')
  let text = ''
  return new Promise((resolve, reject) => {
    const end = (error?: Error) => {
      input.setRawMode(false).pause()
      process.stderr.write('\n')
      if (error === undefined) resolve(text)
      else reject(error)
    }
    input.on('data', (typed: string) => {
      for (const letter of typed) {
        if (letter === '\r' || letter === '\n') return end()
        if (letter === '\u0003') return end(new Error('given up'))
        text = letter === '\u007f' ? text.slice(0, -1) : text + letter
      }
    })
  })
}
