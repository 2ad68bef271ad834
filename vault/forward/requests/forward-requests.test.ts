import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync } from 'node:crypto'
import diagnostics from 'node:diagnostics_channel'
import { after, test } from 'node:test'
import { compactDecrypt } from 'jose'
import { startTestPostgres } from '../../../test/support/postgres.ts'
import { newCaller } from '../../test-vault.ts'
import { type Answer, startDestination } from '../test-destination.ts'
import { openTestForwards } from './test-forwards.ts'
import { hostileUrls } from './test-hostile-urls.ts'

const postgres = await startTestPostgres({ after })
const { vault, forwards, destinations, prepare } = await openTestForwards(postgres)
after(async () => {
  await forwards.drain()
  await forwards.close()
})

const number = '4242424242424242'
const ok: Answer = (_seen, response) =>
  void response.setHeader('content-type', 'application/json').end('{"id":"ch_1"}')
const never: Answer = () => {}

test('a request arrives filled in, its answer comes back, and its record and audit record stay', async (t) => {
  const psp = await startDestination(t, ok)
  const { card, send, records, rows, caller } = await prepare(psp.url, {
    cvc: '737',
    cardholder_name: 'Zoë "Z" O\'Hara',
  })
  const { forward, timing } = await send({
    url: `${psp.url}/pay/{{card.exp_month}}?year={{ card.exp_year | two_digits }}`,
    headers: { 'X-Last': 'n {{card.number}}', authorization: 'Bearer key' },
    body: '{ "n": "{{card.number}}", "c":"{{card.cvc}}", "who": "{{card.cardholder_name}}", "big": 12345678901234567890 }',
  })
  const [seen] = psp.seen
  assert.deepEqual([seen!.method, seen!.url], ['POST', '/pay/12?year=30'])
  assert.equal(
    seen!.body,
    `{ "n": "${number}", "c":"737", "who": "Zoë \\"Z\\" O'Hara", "big": 12345678901234567890 }`,
  )
  assert.deepEqual(
    [seen!.headers['x-last'], seen!.headers.authorization, seen!.headers['content-type']],
    [`n ${number}`, 'Bearer key', 'application/json'],
  )
  assert.deepEqual([forward.outcome, forward.sent, forward.status], ['succeeded', true, 200])
  assert.equal(forward.response!.body, '{"id":"ch_1"}')
  assert.equal(forward.response!.headers['content-type'], 'application/json')
  assert.ok(timing.vault > 0 && timing.policy > 0 && timing.destination > 0)
  await forwards.drain()
  assert.deepEqual(await forwards.get(caller.merchant_id, forward.id), { ...forward, response: null })
  const { data } = await forwards.list(caller.merchant_id, { limit: 10 })
  assert.deepEqual(data, [{ ...forward, response: null }])
  const [audited] = (await rows('audit_records')).filter((row) => row['action'] === 'card.forward')
  assert.deepEqual([audited!['object_id'], audited!['actor']], [card.id, 'ada'])
  assert.equal(audited!['reason'], `${forward.id} POST ${psp.url}`)
  const ended = (await rows('audit_records')).filter((row) => row['action'] === 'forward.end')
  assert.deepEqual(
    ended.map((row) => [row['object_id'], row['actor'], row['reason'], row['result']]),
    [[card.id, 'ada', forward.id, 'answered 200']],
  )
  assert.doesNotMatch(JSON.stringify(await records()), /4242[ -]?4242|(?<![.\w])737(?!\w)|ch_1/)
})

test('I2: of fifty with one key at the same time one is sent, and later ones are told of it', async (t) => {
  const psp = await startDestination(t, ok)
  const { send } = await prepare(psp.url)
  const tries = await Promise.allSettled(Array.from({ length: 50 }, () => send({}, 'key-1')))
  assert.equal(psp.seen.length, 1)
  const answers = tries.filter((each) => each.status === 'fulfilled').map(({ value }) => value.forward)
  assert.equal(new Set(answers.map(({ id }) => id)).size, 1)
  assert.equal(answers.filter(({ response }) => response !== null).length, 1)
  for (const each of tries)
    if (each.status === 'rejected') assert.equal(each.reason.code, 'idempotency_key_in_use')
  await forwards.drain()
  const { forward } = await send({}, 'key-1')
  assert.deepEqual([forward.outcome, forward.status, forward.response], ['succeeded', 200, null])
  await assert.rejects(send({ body: '{}' }, 'key-1'), { code: 'idempotency_key_reused' })
  await assert.rejects(send({ url: 'http://169.254.169.254' }, 'key-1'), { code: 'idempotency_key_reused' })
  assert.equal(psp.seen.length, 1)
})

test('nobody there: failed, nothing sent, the CVC is there again, and the key tells the same later', async (t) => {
  const psp = await startDestination(t, ok)
  const { send, place } = await prepare(psp.url, { cvc: '737' })
  await psp.close()
  const wanted = { body: '{"c":"{{card.cvc}}"}' }
  const { forward } = await send(wanted, 'key-1')
  assert.deepEqual([forward.outcome, forward.sent, forward.failure!.code], ['failed', false, 'not_reached'])
  assert.equal(vault.cvcLeases.take(place, 'another'), '737')
  await forwards.drain()
  assert.deepEqual((await send(wanted, 'key-1')).forward, { ...forward, response: null })
})

test('no answer in time: unknown, sent, and the CVC is used', async (t) => {
  const psp = await startDestination(t, never)
  const { send, place } = await prepare(psp.url, { cvc: '737' })
  const wanted = { body: '{"c":"{{card.cvc}}"}', timeout_ms: 500 }
  const { forward } = await send(wanted, 'key-1')
  assert.deepEqual([forward.outcome, forward.sent, forward.failure!.code], ['unknown', true, 'no_answer'])
  assert.equal(vault.cvcLeases.take(place, 'another'), undefined)
  await assert.rejects(send(wanted, 'key-2'), { code: 'cvc_unavailable', param: 'card' })
  await forwards.drain()
  assert.equal((await send(wanted, 'key-1')).forward.outcome, 'unknown')
  assert.equal(psp.seen.length, 1)
})

test('SEC-02: a CVC leaves once; without one nothing is sent, recorded or used up', async (t) => {
  const psp = await startDestination(t, ok)
  const { send, records } = await prepare(psp.url, { cvc: '737' })
  const wanted = { body: '{"c":"{{card.cvc}}"}' }
  await send(wanted, 'key-1')
  await assert.rejects(send(wanted, 'key-2'), { code: 'cvc_unavailable' })
  assert.deepEqual([psp.seen.length, (await records()).length], [1, 1])
  assert.equal((await send({}, 'key-2')).forward.outcome, 'succeeded')
})

test("SEC-13: a closed card, a deleted one, another merchant's and one that nobody has go nowhere", async (t) => {
  const psp = await startDestination(t, ok)
  const { card, caller, send, records } = await prepare(psp.url)
  const stranger = await prepare(psp.url)
  const unknown = { code: 'not_found', param: 'card' }
  await assert.rejects(send({ card: stranger.card.id }), unknown)
  await assert.rejects(send({ card: `card_${'0'.repeat(36)}` }), unknown)
  await assert.rejects(send({ card: 'none' }), unknown)
  const status = (text: string) =>
    postgres.query('coffer_vault_migrator', `update cards set status = $2 where card_id = $1`, [
      card.id,
      text,
    ])
  for (const text of ['closed', 'contact_cardholder']) {
    await status(text)
    await assert.rejects(send(), { code: 'card_not_active', param: 'card' })
  }
  await status('active')
  await vault.changes.remove(caller, card.id)
  await assert.rejects(send(), unknown)
  assert.deepEqual([psp.seen.length, (await records()).length], [0, 0])
})

test('what is not allowed is refused, leaves no record, and its key is free', async (t) => {
  const psp = await startDestination(t, ok)
  const { send, records, allow } = await prepare(psp.url)
  const elsewhere = newCaller()
  const refused = { code: 'destination_not_allowed' }
  await assert.rejects(send({ url: `http://127.0.0.1:${psp.port + 1}/pay` }), refused)
  await assert.rejects(send({}, 'key-1', elsewhere), refused)
  await allow({ origin: 'https://api.psp.example', path_prefix: '/v1', methods: ['POST'] })
  for (const path of ['/', '/v2', '/v10', '/v1/../v2', '/v1/%2e%2e/v2', '/v1//x'])
    await assert.rejects(send({ url: `https://api.psp.example${path}` }), { ...refused, param: 'url' }, path)
  await assert.rejects(send({ url: 'https://api.psp.example/v1/x', method: 'PUT' }), {
    ...refused,
    param: 'method',
  })
  for (const [changes, code] of [
    [{ body: '{"a":"{{card.pin}}"}' }, 'mark_invalid'],
    [{ body: '{"a":"{{card.cardholder_name}}"}' }, 'mark_unresolved'],
    [{ body: '{"a":{{card.number}}}' }, 'invalid_request'],
    [{ body: `{"a":"${number}"}` }, 'card_number_in_wrong_field'],
    [{ headers: { Host: 'evil.example' } }, 'invalid_request'],
    [{ headers: { a: '1', A: '2' } }, 'invalid_request'],
    [{ url: `${psp.url}/{{card.cvc}}` }, 'mark_invalid'],
    [{ method: 'GET' as const }, 'invalid_request'],
  ] as const)
    await assert.rejects(send(changes, 'key-1'), { code }, JSON.stringify(changes))
  assert.deepEqual([psp.seen.length, (await records()).length], [0, 0])
  assert.equal((await send({}, 'key-1')).forward.outcome, 'succeeded')
})

test('SEC-21: of all hostile URLs none is taken, recorded, or has a socket opened for it', async (t) => {
  assert.ok(new Set(hostileUrls).size >= 200, `${new Set(hostileUrls).size}`)
  const { request, caller, allow, records } = await prepare('http://127.0.0.1:1')
  await allow({ origin: 'https://api.psp.example', path_prefix: '/v1/' })
  let connecting = 0
  const count = () => connecting++
  diagnostics.subscribe('undici:client:beforeConnect', count)
  t.after(() => diagnostics.unsubscribe('undici:client:beforeConnect', count))
  for (const url of new Set(hostileUrls)) {
    const input = request({ url })
    await assert.rejects(
      forwards.forward(caller, input, 'key-1'),
      { code: 'destination_not_allowed', param: 'url' },
      url,
    )
    await assert.rejects(forwards.dryRun(caller, input), { code: 'destination_not_allowed' }, url)
  }
  assert.deepEqual([connecting, (await records()).length], [0, 0])
  // The count would have told.
  assert.equal((await forwards.forward(caller, request(), 'key-1')).forward.outcome, 'failed')
  assert.equal(connecting, 1)
})

test('a value cannot lead out of the path that is allowed', async (t) => {
  const psp = await startDestination(t, ok)
  for (const cardholder_name of ['..', '.', '../../admin', 'a/b', 'a?b#c', '%2e%2e']) {
    const { send } = await prepare(psp.url, { cardholder_name })
    const sent = send({ url: `${psp.url}/v1/{{card.cardholder_name}}` })
    // A slash, too: some servers decode it before they take the path apart.
    if (/^\.|\//.test(cardholder_name))
      await assert.rejects(sent, { code: 'destination_not_allowed', param: 'url' })
    else {
      await sent
      assert.equal(psp.seen.at(-1)!.url, `/v1/${encodeURIComponent(cardholder_name)}`)
    }
  }
})

test('a redirect is an answer like any other: nobody follows it', async (t) => {
  const inner = await startDestination(t, ok)
  const psp = await startDestination(t, (_seen, response) =>
    response.writeHead(307, { location: `${inner.url}/secret` }).end(),
  )
  const { send } = await prepare(psp.url)
  const { forward } = await send()
  assert.deepEqual([forward.status, forward.response!.headers['location']], [307, `${inner.url}/secret`])
  assert.deepEqual([psp.seen.length, inner.connections()], [1, 0])
})

test('dry_run sends nothing, writes nothing, and shows what would be sent without card data', async (t) => {
  const psp = await startDestination(t, ok)
  const { card, request, caller, records, rows, place } = await prepare(psp.url, { cvc: '737' })
  const before = (await rows('audit_records')).length
  const wanted = request({
    url: `${psp.url}/pay/{{card.exp_year | two_digits}}`,
    body: '{"n":"{{card.number}}","c":"{{card.cvc}}","who":"{{card.cardholder_name}}"}',
    dry_run: true,
  })
  const shown = await forwards.dryRun(caller, wanted)
  assert.equal(shown.would_send, false)
  assert.deepEqual(
    shown.marks.map(({ mark, place, resolves }) => `${mark} ${place} ${resolves}`),
    [
      'card.exp_year path true',
      'card.number body true',
      'card.cvc body true',
      'card.cardholder_name body false',
    ],
  )
  assert.equal(shown.request.body, '{"n":"[card.number]","c":"[card.cvc]","who":"[card.cardholder_name]"}')
  assert.deepEqual([shown.allowed_by.origin, shown.allowed_by.path_prefix], [psp.url, '/'])
  assert.doesNotMatch(JSON.stringify(shown), new RegExp(`${number}|(?<![.\\w])(737|${card.last4})(?!\\w)`))
  assert.equal(vault.cvcLeases.take(place, 'another'), '737')
  await assert.rejects(forwards.dryRun(caller, { ...wanted, body: '{{card.none}}' }), {
    code: 'mark_invalid',
  })
  assert.deepEqual([psp.connections(), (await records()).length], [0, 0])
  assert.equal((await rows('audit_records')).length, before)
})

test('a record without an end is in use until its time is over, and unknown from then on', async (t) => {
  const psp = await startDestination(t, never)
  const { send, caller, records } = await prepare(psp.url)
  const first = send({ timeout_ms: 10_000 }, 'key-1')
  await psp.arrived
  await assert.rejects(send({ timeout_ms: 10_000 }, 'key-1'), { code: 'idempotency_key_in_use' })
  const id = (await records())[0]!['forward_id'] as string
  const running = await forwards.get(caller.merchant_id, id)
  assert.deepEqual([running.outcome, running.sent, running.ended_at], ['running', true, null])
  await postgres.query(
    'coffer_vault_migrator',
    `update forward_requests set deadline_at = now() - interval '1 second' where forward_id = $1`,
    [id],
  )
  const { forward } = await send({ timeout_ms: 10_000 }, 'key-1')
  assert.deepEqual([forward.id, forward.outcome, forward.failure!.code], [id, 'unknown', 'no_answer'])
  assert.equal((await first).forward.outcome, 'unknown')
  assert.equal(psp.seen.length, 1)
})

test('a token goes out as a card does: its values are filled, masked, and recorded', async (t) => {
  const iban = 'DE89370400440532013000'
  const psp = await startDestination(t, (seen, response) =>
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ echo: seen.body })),
  )
  const { send, caller, rows } = await prepare(psp.url)
  const input = { type: 'bank_account', data: { iban, holder_name: 'A. Holder' } } as const
  const kept = await vault.tokens.create(caller, input, null, (token) => JSON.stringify(token))
  const token = (JSON.parse(kept.body) as { id: string }).id
  const wanted = {
    token,
    body: 'iban={{token.iban}}&holder={{token.holder_name}}&n={{card.number}}',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  }
  const { forward } = await send(wanted)
  assert.equal(psp.seen[0]!.body, `iban=${iban}&holder=A.+Holder&n=${number}`)
  assert.equal(forward.response!.body, '{"echo":"iban=[account]&holder=A.+Holder&n=[card number]"}')
  assert.equal(forward.token, token)
  const audited = (await rows('audit_records')).filter((row) => /\.forward/.test(row['action'] as string))
  assert.deepEqual(audited.map((row) => row['action']).sort(), ['card.forward', 'token.forward'])
  await assert.rejects(send({ ...wanted, body: 'a={{token.value}}' }), { code: 'mark_unresolved' })
  const stranger = await prepare(psp.url)
  await assert.rejects(stranger.send(wanted), { code: 'not_found', param: 'token' })
  await vault.tokens.remove(caller, token)
  await assert.rejects(send(wanted), { code: 'not_found', param: 'token' })
  assert.equal(psp.seen.length, 1)
})

test('finishing steps run on the filled request: what is signed is what is sent, and what is encrypted is not read', async (t) => {
  const psp = await startDestination(t, ok)
  const { caller, send, request, destinationOf } = await prepare(psp.url)
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const first = (await destinationOf())[0]!
  await destinations.remove(caller, first.destination_id)
  const finishing = {
    jwe: {
      parameters: {
        public_key: publicKey.export({ type: 'spki', format: 'pem' }) as string,
        key_id: 'k1',
        from: 'card',
        to: 'encrypted',
      },
    },
    cybersource_http_signature: {
      parameters: { merchant_id: 'merchant', key_id: 'key-1' },
      secret: btoa('a shared secret of some length'),
    },
  }
  const created = await destinations.create(caller, { origin: psp.url, finishing }, null, (made) =>
    JSON.stringify(made),
  )
  assert.doesNotMatch(created.body, /shared|YSBzaGFyZWQ/)
  const body = '{"card":{"number":"{{card.number}}"},"amount":1}'
  const shown = await forwards.dryRun(caller, request({ body }))
  assert.deepEqual(shown.finishing, ['jwe', 'cybersource_http_signature'])
  await send({ body })
  const [seen] = psp.seen
  const sent = JSON.parse(seen!.body) as { encrypted: string; amount: number }
  assert.equal(sent.amount, 1)
  assert.ok(!seen!.body.includes(number))
  const { plaintext } = await compactDecrypt(sent.encrypted, privateKey)
  assert.equal(Buffer.from(plaintext).toString(), `{"number":"${number}"}`)
  const digest = createHash('sha256').update(seen!.body).digest('base64')
  assert.equal(seen!.headers['digest'], `SHA-256=${digest}`)
  assert.match(String(seen!.headers['signature']), /keyid="key-1"/)
  await assert.rejects(send({ body: '{"amount":1}' }), { code: 'finishing_failed', param: 'body' })
  await assert.rejects(
    destinations.create(
      caller,
      {
        origin: 'https://api.psp.example',
        finishing: { ...finishing, mastercard_oauth1: { parameters: { consumer_key: 'c' }, secret: 'none' } },
      },
      null,
      JSON.stringify,
    ),
    { code: 'invalid_request', param: 'finishing.mastercard_oauth1.secret' },
  )
  assert.equal(psp.seen.length, 1)
})

test('SEC-18: where the record cannot be written, nothing is sent', async (t) => {
  const psp = await startDestination(t, ok)
  const { send } = await prepare(psp.url, { cvc: '737' })
  const migrator = (text: string) => postgres.query('coffer_vault_migrator', text)
  await migrator('revoke insert on audit_records from coffer_vault_service')
  try {
    await assert.rejects(send({ body: '{"c":"{{card.cvc}}"}' }), { code: 'unavailable' })
  } finally {
    await migrator('grant insert on audit_records to coffer_vault_service')
  }
  assert.equal(psp.connections(), 0)
  assert.equal((await send({ body: '{"c":"{{card.cvc}}"}' })).forward.outcome, 'succeeded')
})
