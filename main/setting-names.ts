/** Finds settings that somebody meant and wrote in another way: nothing reads those, so they must not be ignored. */

/** Nearer than this to a setting, a name is that setting, misspelt. */
const misspeltMax = 2
/** What is suggested for a name of ours that there is not. */
const suggestedMax = 6
/** Short names are near each other by chance: PORT and POST. */
const nameLengthMin = 8
/** Kubernetes tells a pod of a service called `coffer` by names such as `COFFER_PORT_8420_TCP_ADDR`. */
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$/

export type UnknownSetting = { name: string; suggestion: string | undefined }

/** Names that begin with `COFFER_`, or are nearly one of `known`, and are none of them. */
export function unknownSettings(
  known: Iterable<string>,
  environment: Record<string, string | undefined>,
): UnknownSetting[] {
  const names = new Set(known)
  return Object.keys(environment).flatMap((name) => {
    const setting = name.replace(/_FILE$/, '')
    if (names.has(setting) || serviceLink.test(name)) return []
    const nearest = [...names]
      .map((candidate) => ({ candidate, distance: editDistance(setting, candidate) }))
      .sort((a, b) => a.distance - b.distance)[0]
    if (nearest === undefined) return []
    const isMisspelt = nearest.distance <= misspeltMax && nearest.candidate.length >= nameLengthMin
    if (!isMisspelt && !name.startsWith('COFFER_')) return []
    return [{ name, suggestion: nearest.distance <= suggestedMax ? nearest.candidate : undefined }]
  })
}

/** How many letters must be changed, added or left out to make one of the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_none, index) => index)
  for (let at = 1; at <= from.length; at++) {
    const next = [at]
    for (let index = 1; index <= to.length; index++) {
      const change = row[index - 1]! + (from[at - 1] === to[index - 1] ? 0 : 1)
      next.push(Math.min(change, row[index]! + 1, next[index - 1]! + 1))
    }
    row = next
  }
  return row[to.length]!
}
