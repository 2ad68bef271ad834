import { parseArgs } from 'node:util'
import { type ScenarioName, scenario_names, scenarios } from './scenarios.ts'

export type Options = {
  only: ScenarioName[]
  seconds: number
  connections: number
  /** Arrivals a second of the fixed-rate phase, by scenario. */
  rates: Record<ScenarioName, number>
  soak_seconds: number
  soak_rate: number
  yardsticks: boolean
  /** Undefined measures the scenarios. */
  import_rows: number | undefined
  batch_rows: number | undefined
  full_vault_rows: number | undefined
  rotation_seconds: number | undefined
  rotation_cards: number | undefined
  /** Measures the connectors by themselves, instead of the product. */
  transforms: boolean
  json_file: string | undefined
  entry: string
}

export const usage = `
Measures the speed and memory of Coffer: starts it on an embedded PostgreSQL with safe settings, loads it,
prints a table.

  npm run bench -- [scenarios] [options]

Scenarios: ${scenario_names.join(', ')} (default: all of them); or 'transforms': instead of all that, what connectors
take by themselves.

  --seconds N          length of each measured window (default 10)
  --connections N      connections of the load generator (default 64)
  --rate N             arrivals a second of the fixed-rate phase (default 1000; of payments 200)
  --payment-rate N     the same for payments only
  --soak SECONDS       afterwards, a mixed load for so long, with memory over time (300 for the memory target)
  --soak-rate N        arrivals a second of that load (default 1000)
  --import ROWS        instead of all that, one import of so many cards (the goal is set for 1000000)
  --batch ROWS         instead of all that, one batch of so many payments (the goal is set for 1000000)
  --full-vault ROWS    instead of all that, tokenize and get in a vault with so many imported cards against an empty
                       one (the goal is set for 1000000; windows of 60 s, which hold a whole checkpoint cycle)
  --rotation SECONDS   instead of all that, 1000 tokenize and 1000 get a second for so long, while all keys are
                       rotated (the goal: no error)
  --rotation-cards N   cards that are there before (default 200 for each second)
  --no-yardsticks      leave out the bare server and the insert rate
  --json FILE          write the results there too (always: bench/results/<time>.json)
  --entry FILE         the script that starts the product (default main/cli.ts)
  --help               this text
`.trimStart()

const WITH_VALUE = { type: 'string' } as const

/** Reads the command line; undefined asks for the help text. Throws with a message for the reader. */
export function parseOptions(args: string[]): Options | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowNegative: true,
    allowPositionals: true,
    options: {
      seconds: WITH_VALUE,
      connections: WITH_VALUE,
      rate: WITH_VALUE,
      'payment-rate': WITH_VALUE,
      soak: WITH_VALUE,
      'soak-rate': WITH_VALUE,
      import: WITH_VALUE,
      batch: WITH_VALUE,
      'full-vault': WITH_VALUE,
      rotation: WITH_VALUE,
      'rotation-cards': WITH_VALUE,
      yardsticks: { type: 'boolean', default: true },
      json: WITH_VALUE,
      entry: { type: 'string', default: 'main/cli.ts' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const rateOf = (name: ScenarioName) => {
    const given = name === 'payment' ? (values['payment-rate'] ?? values.rate) : values.rate
    return positive('rate', given, scenarios[name].rate_per_second)
  }
  const transforms = positionals.includes('transforms')
  return {
    only: scenarioNames(transforms ? [] : positionals),
    transforms,
    seconds: positive('seconds', values.seconds, values['full-vault'] === undefined ? 10 : 60),
    connections: positive('connections', values.connections, 64),
    rates: {
      tokenize: rateOf('tokenize'),
      get: rateOf('get'),
      reveal: rateOf('reveal'),
      payment: rateOf('payment'),
    },
    soak_seconds: values.soak === undefined ? 0 : positive('soak', values.soak, 0),
    soak_rate: positive('soak-rate', values['soak-rate'], 1_000),
    yardsticks: values.yardsticks,
    import_rows: optional('import', values.import),
    batch_rows: optional('batch', values.batch),
    full_vault_rows: optional('full-vault', values['full-vault']),
    rotation_seconds: optional('rotation', values.rotation),
    rotation_cards: optional('rotation-cards', values['rotation-cards']),
    json_file: values.json,
    entry: values.entry,
  }
}

function scenarioNames(asked: string[]): ScenarioName[] {
  if (asked.length === 0) return scenario_names
  const names = asked.map((name) => (name === 'payments' ? 'payment' : name))
  const unknown = names.filter((name) => !(scenario_names as string[]).includes(name))
  if (unknown.length > 0)
    throw new Error(`there is no scenario '${unknown[0]}', but ${scenario_names.join(', ')}`)
  return scenario_names.filter((name) => names.includes(name))
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!Number.isInteger(value) || value <= 0)
    throw new Error(`--${name}: '${text}' is not a whole number above 0`)
  return value
}

function optional(name: string, text: string | undefined): number | undefined {
  return text === undefined ? undefined : positive(name, text, 0)
}
