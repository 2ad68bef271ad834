import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newCertificate } from '../../../test/support/certificates.ts'
import { startTestPostgres } from '../../../test/support/postgres.ts'
import { newCaller, openTestVault, rowsOf } from '../../test-vault.ts'
import { createDestinations } from './destinations.ts'
import type { Destination, NewDestination } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const clock = { now: () => new Date() }
const destinations = createDestinations({ ...vault, clock, allowLoopback: false })
/** As another process has it, with a cache of its own. */
const elsewhere = createDestinations({ ...vault, clock, allowLoopback: false })

const origin = 'https://api.psp.example'

async function create(input: Partial<NewDestination> = {}, caller = newCaller(), key: string | null = null) {
  const wanted = { origin, ...input }
  const { body } = await destinations.create(caller, wanted, key, JSON.stringify)
  return { caller, destination: JSON.parse(body) as Destination, body }
}

test('a destination is kept, shown, listed and deleted, each with its audit record and event', async () => {
  const { caller, destination } = await create({ path_prefix: '/v1/', methods: ['POST'] })
  const { merchant_id } = caller
  assert.deepEqual(await destinations.get(merchant_id, destination.id), destination)
  const { destination: second } = await create({ origin: 'https://API.two.example:8443' }, caller)
  assert.equal(second.origin, 'https://api.two.example:8443')
  assert.deepEqual(second.methods, ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
  const page = await destinations.list(merchant_id, { limit: 1 })
  assert.deepEqual([page.data[0]!.id, page.next_cursor], [destination.id, destination.id])
  const rest = await destinations.list(merchant_id, { cursor: destination.id, limit: 10 })
  assert.deepEqual(rest, { data: [second], next_cursor: null })

  assert.equal((await destinations.open(merchant_id, origin)).length, 1)
  await destinations.remove(caller, destination.id)
  assert.deepEqual(await destinations.open(merchant_id, origin), [])
  assert.deepEqual(await elsewhere.open(merchant_id, origin), [])
  await assert.rejects(destinations.get(merchant_id, destination.id), { code: 'not_found' })
  await assert.rejects(destinations.remove(caller, destination.id), { code: 'not_found' })
  const actions = (await rowsOf(postgres, 'audit_records', merchant_id)).map((row) => row['action'])
  assert.deepEqual(actions.sort(), ['destination.create', 'destination.create', 'destination.delete'])
  assert.equal((await rowsOf(postgres, 'outbox', merchant_id)).length, 3)
})

test("SEC-13: another merchant's destination is found by nobody else", async () => {
  const { destination } = await create()
  const stranger = newCaller()
  await assert.rejects(destinations.get(stranger.merchant_id, destination.id), { code: 'not_found' })
  await assert.rejects(destinations.remove(stranger, destination.id), { code: 'not_found' })
  assert.deepEqual(await destinations.open(stranger.merchant_id, origin), [])
})

test('one origin and path is listed once, of thirty at the same time, and again once it was deleted', async () => {
  const { caller, destination } = await create()
  await assert.rejects(create({}, caller), { code: 'destination_exists', param: 'origin' })
  await create({ path_prefix: '/v2' }, caller)
  await destinations.remove(caller, destination.id)
  const tries = await Promise.allSettled(Array.from({ length: 30 }, () => create({}, caller)))
  assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const each of tries)
    if (each.status === 'rejected') assert.equal(each.reason.code, 'destination_exists')
})

test('a repeated key gives the first answer, at the same time too, and no other body is taken under it', async () => {
  const caller = newCaller()
  const answers = await Promise.all(Array.from({ length: 20 }, () => create({}, caller, 'one')))
  assert.equal(new Set(answers.map(({ body }) => body)).size, 1)
  await assert.rejects(create({ methods: ['GET'] }, caller, 'one'), { code: 'idempotency_key_reused' })
  assert.equal((await rowsOf(postgres, 'destinations', caller.merchant_id)).length, 1)
})

test('a client certificate must be good and its key its own; the key is sealed, and gone with the destination', async () => {
  const own = newCertificate('merchant.example')
  const other = newCertificate('merchant.example')
  const over = newCertificate('merchant.example', { days: -0.5 })
  const refused = (field: string) => ({
    code: 'client_certificate_invalid',
    param: `client_certificate.${field}`,
  })
  const broken = own.certificate.replace('MII', 'AAA')
  for (const [given, expected] of [
    [{ ...own, private_key: other.private_key }, refused('private_key')],
    [over, refused('certificate')],
    [{ ...own, certificate: broken }, refused('certificate')],
    [{ ...own, private_key: own.private_key.replace('MI', 'AA') }, refused('private_key')],
  ] as const)
    await assert.rejects(create({ client_certificate: given }), expected)
  const { certificate, private_key } = own
  const { caller, destination } = await create({ client_certificate: { certificate, private_key } })
  assert.match(destination.client_certificate!.subject, /merchant\.example/)
  const rows = () => rowsOf(postgres, 'destinations', caller.merchant_id)
  assert.doesNotMatch(JSON.stringify(await rows()), /PRIVATE KEY/)
  const [opened] = await elsewhere.open(caller.merchant_id, origin)
  assert.equal(opened!.client!.private_key.expose(), private_key)
  await destinations.remove(caller, destination.id)
  assert.equal((await rows())[0]!['client_key_encrypted'], null)
})

test('a prefix stays below its path: no empty segment and none of dots', async () => {
  for (const path_prefix of ['/a/../b', '//', '/a//b', '/..', '/.', '/a/./b', '/a/..'])
    await assert.rejects(create({ path_prefix }), { code: 'destination_not_allowed', param: 'path_prefix' })
  for (const path_prefix of ['/', '/a', '/a/', '/a.b/..c/d..', '/...'])
    assert.equal((await create({ path_prefix })).destination.path_prefix, path_prefix)
})
