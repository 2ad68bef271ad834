/**
 * Where the vault may send: the exact origin of a connection, checked when it is stored and again on the
 * address each time a socket is opened, so a name that changes its address between is refused.
 */
import { type LookupAddress, lookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { Failure } from '@coffer/core/errors.ts'

const forbidden = new BlockList()
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  forbidden.addSubnet(network, prefix, 'ipv4')

/** Only global unicast, and of that nothing that carries an IPv4 address inside (6to4, Teredo) or is reserved. */
const globalUnicast = new BlockList()
globalUnicast.addSubnet('2000::', 3, 'ipv6')
const excepted = new BlockList()
for (const [network, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  excepted.addSubnet(network, prefix, 'ipv6')

export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 4) return !forbidden.check(address, 'ipv4')
  return isIP(address) === 6 && globalUnicast.check(address, 'ipv6') && !excepted.check(address, 'ipv6')
}

const isLoopbackName = (host: string) => host === '127.0.0.1' || host === 'localhost'

/** As it is written: what a URL parser would repair or drop is refused. */
const originPattern = /^[a-z]+:\/\/[^/?#@\\%]+\/?$/i

export type OriginRules = {
  /** Named by a refusal. */
  param: string
  allowLoopback: boolean
  /** Beside 443, ports from 1024 up: those below belong to other protocols. */
  otherPorts?: boolean
}

/** The origin that is written, in one writing. @throws Failure destination_not_allowed saying which rule it breaks. */
export function checkOrigin(text: string, { param, allowLoopback, otherPorts }: OriginRules): string {
  const refuse = (detail: string) => new Failure('destination_not_allowed', { param, detail })
  if (!URL.canParse(text) || !/^[\x21-\x7e]+$/.test(text)) throw refuse('It is not an absolute URL in ASCII.')
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') throw refuse('It holds a user name or password.')
  if (url.pathname !== '/' || !originPattern.test(text))
    throw refuse('It must be an origin only, without path or query.')
  if (allowLoopback && isLoopbackName(url.hostname) && /^https?:$/.test(url.protocol)) return url.origin
  if (url.protocol !== 'https:') throw refuse('It is not https.')
  if (otherPorts === true && url.port !== '' && Number(url.port) < 1_024)
    throw refuse('Its port is neither 443 nor one from 1024 up.')
  if (otherPorts !== true && url.port !== '') throw refuse('Its port is not 443.')
  if (isIP(url.hostname.replace(/^\[|\]$/g, '')) !== 0) throw refuse('It is an IP address; use a DNS name.')
  if (!/^(?=.{4,253}$)([a-z0-9-]{1,63}\.)+[a-z]{2,63}$/.test(url.hostname))
    throw refuse('It is not a DNS name.')
  return url.origin
}

/** The origin of a connection. @throws Failure destination_not_allowed */
export function checkBaseUrl(baseUrl: string, allowLoopback: boolean): string {
  return checkOrigin(baseUrl, { param: 'base_url', allowLoopback })
}

/**
 * Name look-up for sockets: gives only addresses that may be connected to, and those are connected to.
 * @param resolve the operating system's, but for tests.
 */
export function guardedLookup(allowLoopback: boolean, resolve = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, '', 0)
      const loopback = allowLoopback && isLoopbackName(hostname)
      const usable = addresses.filter(({ address }) => loopback || isPublicAddress(address))
      const [first] = usable
      if (first === undefined)
        return callback(
          Object.assign(new Error('no address of it may be connected to'), { code: 'ENOTFOUND' }),
          '',
          0,
        )
      if (options.all === true) callback(null, usable)
      else callback(null, first.address, first.family)
    })
  }
}
