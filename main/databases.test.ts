import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startTestPostgres } from '../test/support/postgres.ts'
import { prepareDatabases } from './databases.ts'

const postgres = await startTestPostgres({ after })

test('a login that an older version did not know is added to the databases it made', async () => {
  const login = 'coffer_access_relay'
  await postgres.query('postgres', `drop owned by ${login} cascade`, [], 'access')
  await postgres.query('postgres', `drop role ${login}`)
  await prepareDatabases(postgres.server, postgres.secrets)
  assert.deepEqual(await postgres.query(login, 'select current_user as me'), [{ me: login }])
  // And what is there stays as it is.
  await prepareDatabases(postgres.server, postgres.secrets)
  assert.equal((await postgres.query('coffer_vault_service', 'select 1')).length, 1)
})
