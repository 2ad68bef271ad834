import assert from 'node:assert/strict'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { checkBaseUrl, guardedLookup, isPublicAddress } from './destination.ts'

/** Refused in every mode: each would reach something else than a PSP by its name, or hide where it leads. */
const hostile = [
  // Not https.
  'http://psp.example',
  'ftp://psp.example',
  'file:///etc/passwd',
  'ws://psp.example',
  'gopher://psp.example',
  'javascript:alert(1)',
  'data:text/plain,x',
  'unix:/run/docker.sock',
  'https+unix://psp.example',
  'ftp://localhost',
  'ws://127.0.0.1',
  'gopher://127.0.0.1:6379',
  // Addresses in every writing.
  'https://10.0.0.1',
  'https://192.168.1.1',
  'https://172.16.0.1',
  'https://169.254.169.254',
  'https://100.64.0.1',
  'https://0.0.0.0',
  'https://8.8.8.8',
  'https://255.255.255.255',
  'https://2852039166',
  'https://0xa9fea9fe',
  'https://0xa9.0xfe.0xa9.0xfe',
  'https://0251.0376.0251.0376',
  'https://169.254.43518',
  'https://10.1',
  'https://0',
  'https://[::1]',
  'https://[::]',
  'https://[::ffff:169.254.169.254]',
  'https://[::ffff:a00:1]',
  'https://[fe80::1]',
  'https://[fd00:ec2::254]',
  'https://[64:ff9b::a9fe:a9fe]',
  'https://[2002:a9fe:a9fe::]',
  'https://[2606:4700::1111]',
  'https://①⑥⑨.②⑤④.①⑥⑨.②⑤④',
  // User names.
  'https://psp.example@evil.example',
  'https://user:pass@psp.example',
  'https://:@psp.example',
  'https://@psp.example',
  'https://psp.example:443@evil.example',
  'https://psp.example%40evil.example@evil.example',
  // More than an origin.
  'https://psp.example/path',
  'https://psp.example//',
  'https://psp.example/..',
  'https://psp.example?x',
  'https://psp.example/?',
  'https://psp.example#x',
  'https://psp.example/#',
  'https://psp.example/%2e%2e',
  'https://psp.example;x',
  // Other ports.
  'https://psp.example:22',
  'https://psp.example:8443',
  'https://psp.example:80',
  'https://psp.example:65536',
  'https://psp.example:x',
  // Names that are none, or not what they look like.
  'https://intranet',
  'https://psp',
  'https://localhost',
  'https://localhost.',
  'https://LOCALHOST.',
  'https://psp.example.',
  'https://.psp.example',
  'https://psp..example',
  'https://psp_1.example',
  'https://*.psp.example',
  'https://psp.example。evil.example',
  'https://psp。example',
  'https://psp.exаmple',
  'https://psp\u200b.example',
  'https://psp.example\0.evil.example',
  'https://psp.example%00.evil.example',
  'https://psp.example%2f.evil.example',
  'https://psp.1',
  `https://${'a'.repeat(64)}.example`,
  `https://${'a.'.repeat(130)}example`,
  // Not a URL, or one only after somebody's repair.
  '',
  'psp.example',
  '//psp.example',
  'https://',
  'https:///',
  'https:\\\\psp.example',
  'https:/\\psp.example',
  'https://psp.example\\@evil.example',
  ' https://psp.example',
  'https://psp.example ',
  'https://psp.example\n',
  'https://psp\t.example',
  'https://psp.example\r\nHost: x',
]

test('SEC-21: every hostile address of a connection is refused, where loopback is not allowed and where it is', () => {
  assert.ok(hostile.length >= 60)
  for (const url of hostile) {
    assert.throws(() => checkBaseUrl(url, false), { code: 'destination_not_allowed', param: 'base_url' }, url)
    const isLoopback = /^https?:\/\/(localhost|127\.)/i.test(url) && URL.parse(url)?.hostname === 'localhost'
    if (!isLoopback) assert.throws(() => checkBaseUrl(url, true), { code: 'destination_not_allowed' }, url)
  }
})

test("a PSP's origin is taken, in one writing", () => {
  for (const [url, origin] of [
    ['https://api.stripe.com', 'https://api.stripe.com'],
    ['https://API.Stripe.COM/', 'https://api.stripe.com'],
    ['https://api.stripe.com:443', 'https://api.stripe.com'],
    ['https://abc123-checkout-live.adyenpayments.com', 'https://abc123-checkout-live.adyenpayments.com'],
    ['https://xn--bcher-kva.example', 'https://xn--bcher-kva.example'],
  ] as const)
    assert.equal(checkBaseUrl(url, false), origin)
})

test('loopback is for the sandbox only, by its two plain names', () => {
  for (const url of ['http://127.0.0.1:4010', 'http://localhost:4010', 'https://127.0.0.1']) {
    assert.equal(checkBaseUrl(url, true), url)
    assert.throws(() => checkBaseUrl(url, false), { code: 'destination_not_allowed' })
  }
  for (const url of [
    'http://127.0.0.2',
    'http://[::1]',
    'http://localhost.evil.example',
    'http://127.0.0.1.evil.example',
  ])
    assert.throws(() => checkBaseUrl(url, true), { code: 'destination_not_allowed' }, url)
})

test('SEC-22: only public unicast addresses may be connected to', () => {
  const refused = [
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.0',
    '10.255.255.255',
    '100.64.0.0',
    '100.127.255.255',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.0.1',
    '169.254.169.254',
    '172.16.0.0',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.19.255.255',
    '198.51.100.7',
    '203.0.113.7',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:8.8.8.8',
    '::ffff:10.0.0.1',
    '::ffff:a9fe:a9fe',
    '::8.8.8.8',
    '64:ff9b::8.8.8.8',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:2::1',
    '2001:10::1',
    '2001:20::1',
    '2001:db8::1',
    '2002::1',
    '2002:a9fe:a9fe::',
    '3fff::1',
    '5f00::1',
    'fc00::1',
    'fd00:ec2::254',
    'fe80::1',
    'fec0::1',
    'ff02::1',
    '4000::1',
    '1fff::1',
    '',
    'psp.example',
    '1',
    '0x7f.1',
    '127.1',
    '08.8.8.8',
    '8.8.8.8 ',
    '[::1]',
  ]
  for (const address of refused) assert.equal(isPublicAddress(address), false, address)
  const allowed = [
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.167.255.255',
    '223.255.255.255',
    '2606:4700::1111',
    '2a00:1450:4001:81b::200e',
    '2001:4860:4860::8888',
    '2003::1',
  ]
  for (const address of allowed) assert.equal(isPublicAddress(address), true, address)
})

type Looked = (hostname: string, options: object) => Promise<unknown>

test('SEC-22: a name that leads to an address inside is not connected to, even if it was checked before', async () => {
  const guarded = promisify(guardedLookup(false)) as unknown as Looked
  for (const options of [{}, { all: true }, { family: 4 }])
    await assert.rejects(guarded('localhost', options), { code: 'ENOTFOUND' })
  const inSandbox = promisify(guardedLookup(true)) as unknown as Looked
  const found = (await inSandbox('localhost', { all: true })) as { address: string }[]
  assert.ok(found.some(({ address }) => address === '127.0.0.1'))
})
