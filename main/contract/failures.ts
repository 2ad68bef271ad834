/** What `docs/errors.md` says of each failure, for the contract: the one place where these texts are written. */
import { readFileSync } from 'node:fs'
import { type FailureCode, failures } from '@coffer/core/errors.ts'

export type FailureEntry = {
  status: number
  title: string
  retryable: boolean
  /** When it is answered. */
  meaning: string
  /** What `param` names. */
  parameter: string
  what_to_do: string
}

const document = new URL('../../docs/errors.md', import.meta.url)

/** @throws where a code has no section, or one without its three parts. */
export function failureEntries(): Record<FailureCode, FailureEntry> {
  const text = readFileSync(document, 'utf8')
  const sections = new Map(text.split(/^## /m).map((section) => [section.split('\n')[0], section]))
  const entries = Object.entries(failures).map(([code, entry]) => {
    const [, meaning, parameter, what_to_do] =
      /^\w+\n\n`\d+`\. (.+)\n\nParameter: (.+)\n\nWhat to do: (.+)\n*$/.exec(sections.get(code) ?? '') ?? []
    if (meaning === undefined || parameter === undefined || what_to_do === undefined)
      throw new Error(`docs/errors.md: the section ${code} lacks its status, parameter or what to do`)
    return [code, { ...entry, meaning, parameter, what_to_do }]
  })
  return Object.fromEntries(entries) as Record<FailureCode, FailureEntry>
}
