/** What would be sent, with the name of each mark in place of its value. */
import type { OpenDestination } from '../destinations/destinations.ts'
import type { FilledRequest } from '../marks.ts'
import { fillForward } from './filling.ts'
import type { MarkName, MarkPlace } from './marks.ts'
import type { DryRun, NewForward } from './schemas.ts'
import type { Target } from './target.ts'

export type Redacted = { request: FilledRequest; marks: { mark: MarkName; place: MarkPlace }[] }

/** Every mark is checked by this. @throws Failure as filling does, but for what only a value can bring about. */
export function redacted(input: NewForward, target: Target): Redacted {
  const marks: Redacted['marks'] = []
  const request = fillForward(input, target, (mark, place) => {
    marks.push({ mark: mark.name, place })
    return `[${mark.name}]`
  })
  return { request, marks }
}

/** @param resolves whether there is a value for a mark. */
export function dryRunOf(
  { request, marks }: Redacted,
  target: Target,
  destination: OpenDestination,
  resolves: (mark: MarkName) => boolean,
): DryRun {
  const shown = marks.map((each) => ({ ...each, resolves: resolves(each.mark) }))
  const { destination_id, origin, path_prefix, methods } = destination
  return {
    object: 'forward_dry_run',
    would_send: shown.every((each) => each.resolves),
    allowed_by: { destination: destination_id, origin, path_prefix, methods: [...methods] },
    request: {
      method: request.method,
      url: target.origin + request.path,
      headers: request.headers,
      body: request.body,
    },
    finishing: destination.finishing.map(({ scheme }) => scheme),
    marks: shown,
  }
}
