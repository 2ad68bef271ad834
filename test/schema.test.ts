// Each zone's schema as it is after all migrations is committed beside them. A difference fails this test;
// UPDATE_SCHEMA=1 writes the files anew: `UPDATE_SCHEMA=1 npm test -- test/schema.test.ts`

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { dumpSchema } from '@coffer/core/migrate.ts'
import { migrationsFolder, zones } from '../main/databases.ts'
import { logins } from '../main/sandbox-secrets.ts'
import { startTestPostgres } from './support/postgres.ts'

const postgres = await startTestPostgres({ after })

for (const zone of zones)
  test(`the schema of ${zone} is the committed one`, async () => {
    const file = join(migrationsFolder(zone), 'schema.txt')
    const schema = await dumpSchema(postgres.url(logins[zone][0]))
    if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(file, schema)
    assert.equal(schema, readFileSync(file, 'utf8'), `${file} is not up to date: see the head of this test`)
  })
