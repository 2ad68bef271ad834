/**
 * Configuration: one table a zone, read once at start. A value comes from the environment variable of its
 * name or, for secrets better, from the file that `<NAME>_FILE` names. Nothing else reads the environment.
 */

import { createPrivateKey, createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { Secret } from './secret.ts'

type Setting<Value> = {
  describe: string
  parse(text: string): Value
  /** Used where neither variable is set; without one the setting is required. */
  fallback?: Value
  /** What may be shown of it; a secret tells its size. Without this, all of it. */
  show?(text: string): string
  /** In a live deployment it comes as a file: an environment is shown to whoever may look at the process. */
  secret?: true
}

export type Settings = Record<string, Setting<unknown>>
export type ConfigOf<Table extends Settings> = {
  [Name in keyof Table]: Table[Name] extends Setting<infer Value> ? Value : never
}

export function text(describe: string, fallback?: string): Setting<string> {
  return { describe, parse: (value) => value, ...(fallback === undefined ? {} : { fallback }) }
}

const showSize = (value: string) => `${Buffer.byteLength(value)} bytes`

export function secret(describe: string): Setting<Secret<string>> {
  return { describe, parse: (value) => new Secret(value), show: showSize, secret: true }
}

export function optionalSecret(describe: string): Setting<Secret<string> | undefined> {
  return { ...secret(describe), fallback: undefined }
}

/** A symmetric key of 256 bits, in base64. */
export function secretKey(describe: string): Setting<Secret<string>> {
  const bytesOf = (value: string) => Buffer.from(value, 'base64').length
  return {
    describe,
    parse(value) {
      if (bytesOf(value) !== 32) throw new RangeError('must be 32 bytes in base64')
      return new Secret(value)
    },
    show: (value) => `${bytesOf(value)} bytes`,
    secret: true,
  }
}

export function optionalSecretKey(describe: string): Setting<Secret<string> | undefined> {
  return { ...secretKey(describe), fallback: undefined }
}

/** Symmetric keys of 256 bits in base64, separated by commas; none where it is not set. */
export function secretKeys(describe: string): Setting<Secret<string>[]> {
  const one = secretKey(describe)
  const partsOf = (value: string) => value.split(',').map((part) => part.trim())
  return {
    describe: `${describe}, each 32 bytes in base64, separated by commas`,
    parse: (value) => partsOf(value).map((part) => one.parse(part)),
    show: (value) => `${partsOf(value).length} keys`,
    secret: true,
    fallback: [],
  }
}

export function ed25519PrivateKey(describe: string): Setting<Secret<string>> {
  return {
    describe,
    parse(value) {
      assertEd25519(() => createPrivateKey(value), 'private')
      return new Secret(value)
    },
    show: showSize,
    secret: true,
  }
}

export function ed25519PublicKey(describe: string): Setting<string> {
  return {
    describe,
    parse(value) {
      assertEd25519(() => createPublicKey(value), 'public')
      return value
    },
    show: showSize,
  }
}

function assertEd25519(read: () => { asymmetricKeyType?: string | undefined }, kind: string): void {
  let type: string | undefined
  try {
    type = read().asymmetricKeyType
  } catch {
    // What it says may hold what was given.
  }
  if (type !== 'ed25519') throw new RangeError(`must be an Ed25519 ${kind} key in PEM`)
}

export function optionalText(describe: string): Setting<string | undefined> {
  return { describe, parse: (value) => value, fallback: undefined }
}

export function integer(
  describe: string,
  bounds: { min: number; max: number; fallback?: number },
): Setting<number> {
  return {
    describe: `${describe} (${bounds.min} to ${bounds.max})`,
    parse(value) {
      const number = Number(value)
      if (!/^\d+$/.test(value) || number < bounds.min || number > bounds.max)
        throw new RangeError(`must be a whole number from ${bounds.min} to ${bounds.max}`)
      return number
    },
    ...(bounds.fallback === undefined ? {} : { fallback: bounds.fallback }),
  }
}

export function oneOf<const Choice extends string>(
  describe: string,
  choices: readonly Choice[],
  fallback?: Choice,
): Setting<Choice> {
  return {
    describe: `${describe} (${choices.join(' | ')})`,
    parse(value) {
      const choice = choices.find((candidate) => candidate === value)
      if (choice === undefined) throw new RangeError(`must be one of ${choices.join(', ')}`)
      return choice
    },
    ...(fallback === undefined ? {} : { fallback }),
  }
}

/** IP addresses and networks such as 10.0.0.0/8, separated by commas; none where it is not set or empty. */
export function networks(describe: string): Setting<string[]> {
  return {
    describe: `${describe}, separated by commas`,
    parse(value) {
      const found = value.split(',').map((part) => part.trim())
      const named = found.filter((part) => part !== '')
      if (!named.every(isNetwork)) throw new RangeError('must be IP addresses or networks like 10.0.0.0/8')
      return named
    },
    fallback: [],
  }
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const bitsMax = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  return bitsMax > 0 && rest.length === 0 && (bits === undefined || (/^\d+$/.test(bits) && +bits <= bitsMax))
}

export function url(describe: string, fallback?: string): Setting<string> {
  return {
    describe,
    parse(value) {
      if (!URL.canParse(value)) throw new RangeError('must be an absolute URL')
      return value.replace(/\/$/, '')
    },
    ...(fallback === undefined ? {} : { fallback }),
  }
}

/** `name=url`, separated by commas; undefined where it is not set. */
export function namedUrls(describe: string): Setting<Record<string, string> | undefined> {
  return {
    describe: `${describe}, as name=address, separated by commas`,
    parse(value) {
      const entries = value.split(',').map((part) => part.trim().split('='))
      const isRight = ([name = '', address = '', ...rest]: string[]) =>
        /^[a-z][a-z0-9_]*$/.test(name) && URL.canParse(address) && rest.length === 0
      if (!entries.every(isRight)) throw new RangeError('must be like stripe=http://127.0.0.1:8421')
      return Object.fromEntries(entries.map(([name, address]) => [name, address!.replace(/\/$/, '')]))
    },
    fallback: undefined,
  }
}

export class ConfigError extends Error {
  readonly problems: string[]
  constructor(problems: string[]) {
    super(`the configuration is not usable:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** @throws ConfigError naming every setting that is missing or wrong, all at once. */
export function readConfig<Table extends Settings>(
  table: Table,
  environment: Record<string, string | undefined>,
): ConfigOf<Table> {
  const { config, problems } = lookForConfig(table, environment)
  if (problems.length > 0) throw new ConfigError(problems)
  return config as ConfigOf<Table>
}

/** As far as it is there: where a setting is wrong it has its default, and where one is missing nothing. */
export function lookForConfig(
  table: Settings,
  environment: Record<string, string | undefined>,
): { config: Record<string, unknown>; problems: string[] } {
  const problems: string[] = []
  const config: Record<string, unknown> = {}
  for (const [name, setting] of Object.entries(table)) {
    try {
      const found = settingOf(name, environment)
      if (found === '' && !('fallback' in setting)) problems.push(`${name} is empty: ${setting.describe}`)
      else if (found !== undefined) config[name] = setting.parse(found)
      else if ('fallback' in setting) config[name] = setting.fallback
      else problems.push(`${name} (or ${name}_FILE) is not set: ${setting.describe}`)
    } catch (error) {
      problems.push(`${name}: ${error instanceof Error ? error.message : 'not readable'}`)
      if ('fallback' in setting) config[name] = setting.fallback
    }
  }
  return { config, problems }
}

function settingOf(name: string, environment: Record<string, string | undefined>): string | undefined {
  const file = environment[`${name}_FILE`]
  const direct = environment[name]
  if (file !== undefined && direct !== undefined) throw new RangeError(`set it or ${name}_FILE, not both`)
  return file === undefined ? direct : readFileSync(file, 'utf8').trim()
}

/** Each setting with what may be shown of its value, and where that is from; nothing of a secret but its size. */
export function explainConfig(
  table: Settings,
  environment: Record<string, string | undefined>,
): { name: string; value: string; from: string }[] {
  return Object.entries(table).map(([name, setting]) => {
    const from = environment[`${name}_FILE`] ?? (environment[name] === undefined ? 'default' : 'environment')
    try {
      const found = settingOf(name, environment)
      if (found === undefined) return { name, value: shownFallback(setting), from }
      setting.parse(found)
      if (setting.show === undefined) return { name, value: found, from }
      const file = from === 'environment' ? '' : `, from ${from}`
      return { name, value: `(set, ${setting.show(found)}${file})`, from }
    } catch {
      return { name, value: '(wrong)', from }
    }
  })
}

function shownFallback(setting: Setting<unknown>): string {
  if (!('fallback' in setting)) return '(missing)'
  return setting.fallback === undefined ? '(not set)' : String(setting.fallback)
}
