import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPrivateAddress } from './settings.ts'

test('SEC-26: a live database is reached with its certificate checked, or without a network', () => {
  const database = 'postgres://login:password@db.example.com:5432/coffer_vault'
  for (const good of [
    `${database}?sslmode=verify-full`,
    `${database}?sslmode=verify-full&sslrootcert=/etc/ssl/db.crt`,
    'postgres://login:password@127.0.0.1:5432/coffer_vault',
    'postgres://login:password@[::1]/coffer_vault',
    'postgres://login:password@localhost/coffer_vault?host=%2Frun%2Fpostgresql',
  ])
    assert.ok(isPrivateAddress(good), good)
  for (const bad of [
    database,
    ...['disable', 'prefer', 'require', 'no-verify', 'verify-ca'].map(
      (mode) => `${database}?sslmode=${mode}`,
    ),
    `${database}?sslmode=verify-full&sslmode=disable`,
    `${database}?ssl=true`,
    'postgres://login:password@127.0.0.1/coffer_vault?host=db.example.com',
    'db.example.com',
  ])
    assert.ok(!isPrivateAddress(bad), bad)
})
