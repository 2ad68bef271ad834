import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { startTestPostgres } from '../test/support/postgres.ts'
import { eventually, temporaryFolder } from '../test/support/product.ts'
import { createLog } from './log.ts'
import { openDatabase } from './postgres.ts'
import { Secret } from './secret.ts'

const has_openssl = spawnSync('openssl', ['version']).status === 0
const log = createLog({ level: 'error', destination: { write: () => {} } })

test('SEC-26: with verify-full a database is spoken to only under a certificate of its own name and of our authority', {
  skip: !has_openssl && 'there is no openssl to make certificates with',
}, async (t) => {
  const postgres = await startTestPostgres({ after })
  const folder = temporaryFolder(t)
  const file = (name: string) => join(folder, name)
  const certificate = (name: string, subject: string) => {
    const common = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
    ]
    const names = ['-subj', `/CN=${subject}`, '-addext', `subjectAltName=${subject}`]
    execFileSync(
      'openssl',
      [...common, '-keyout', file(`${name}.key`), '-out', file(`${name}.crt`), ...names],
      {
        stdio: 'ignore',
      },
    )
  }
  certificate('server', 'IP:127.0.0.1')
  certificate('elsewhere', 'DNS:db.example.com')
  certificate('stranger', 'IP:127.0.0.1')
  // The server's user must own its key.
  chmodSync(folder, 0o755)
  const { uid, gid } = statSync(join(postgres.server.socket_directory!, 'PG_VERSION'))
  for (const name of ['server', 'elsewhere']) chownSync(file(`${name}.key`), uid, gid)

  async function serve(name: string): Promise<void> {
    for (const [setting, value] of [
      ['ssl_cert_file', file(`${name}.crt`)],
      ['ssl_key_file', file(`${name}.key`)],
      ['ssl', 'on'],
    ])
      await postgres.query('postgres', `alter system set ${setting} = '${value}'`)
    await postgres.query('postgres', 'select pg_reload_conf()')
    await eventually(async () => {
      const [row] = await postgres.query(
        'postgres',
        "select current_setting('ssl_cert_file') as file, current_setting('ssl') as ssl",
      )
      return row!['file'] === file(`${name}.crt`) && row!['ssl'] === 'on'
    })
  }
  async function connected(authority: string): Promise<string> {
    const url = `${postgres.url('coffer_vault_service').expose()}?sslmode=verify-full&sslrootcert=${file(`${authority}.crt`)}`
    const database = openDatabase({ url: new Secret(url), name: 'tls', connections_max: 1, log })
    try {
      const [row] = await database.read<{ ssl: boolean }>([], {
        name: 'is_encrypted',
        text: 'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
        values: [],
      })
      return row!.ssl ? 'encrypted' : 'in the clear'
    } catch (error) {
      return (error as { code: string }).code
    } finally {
      await database.close()
    }
  }

  assert.equal(await connected('server'), 'unavailable', 'a server without TLS')
  await serve('server')
  assert.equal(await connected('server'), 'encrypted')
  assert.equal(await connected('stranger'), 'unavailable', 'another authority')
  await serve('elsewhere')
  assert.equal(await connected('elsewhere'), 'unavailable', 'another name')
})
