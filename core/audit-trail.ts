/** What a zone does for its audit trail beside writing it: sealing, checkpoints, and reading for the platform. */
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { auditRoutes } from './audit.ts'
import { type Attempts, gatherAttempts } from './audit-attempts.ts'
import { type Checkpoint, createCheckpointSigner } from './audit-chain.ts'
import { openCheckpointFile } from './audit-checkpoint-file.ts'
import { listCheckpoints } from './audit-seal-queries.ts'
import { startSealer } from './audit-sealer.ts'
import { callerOf } from './caller.ts'
import { ed25519PrivateKey, text } from './config.ts'
import type { Routes } from './http-server.ts'
import type { Log } from './log.ts'
import type { Database } from './postgres.ts'
import type { Secret } from './secret.ts'

export const auditKeySetting = (zone: string) =>
  ed25519PrivateKey(`Ed25519 private key (PEM) that signs checkpoints of ${zone}'s audit trail`)
export const auditFolderSetting = text('folder that checkpoints of the audit trail are exported to')

export const auditCheckpoint = Type.Object({
  object: Type.Literal('audit_checkpoint'),
  zone: Type.String({ description: 'access, vault or platform.' }),
  sequence: Type.Integer({ description: 'How many records the chain of that zone held.' }),
  hash: Type.String({ description: 'Of the last of them, SHA-256 in hex.' }),
  at: Type.String(),
  checkpoint: Type.String({ description: 'The text that was signed; the fields above are taken from it.' }),
  signature: Type.String({ description: 'Ed25519 over that text, in base64.' }),
})

const checkpointQuery = Type.Object(
  { after: Type.Integer({ minimum: 0 }), limit: Type.Integer({ minimum: 1, maximum: 1_000 }) },
  { additionalProperties: false },
)
const checkpointPage = Type.Object({ data: Type.Array(auditCheckpoint) })
export type CheckpointPage = Static<typeof checkpointPage>

/** Zones may share a listener: each has a path of its own. */
export const checkpointsPath = (zone: string) => `/internal/${zone}-audit-checkpoints`

/** Oldest first, those that are further along than `after`. */
export async function findCheckpoints(
  database: Database,
  after: number,
  limit: number,
): Promise<CheckpointPage> {
  const found = await listCheckpoints(database, BigInt(after), limit)
  const data = found.map(({ checkpoint, signature }) => {
    const { zone, sequence, hash, at } = JSON.parse(checkpoint) as Checkpoint
    return { object: 'audit_checkpoint' as const, zone, sequence, hash, at, checkpoint, signature }
  })
  return { data }
}

export type AuditTrail = {
  internalRoutes: Routes
  attempts: Attempts
  noteRefused(request: FastifyRequest, status: number): void
  warnings(): string[]
  /** Seals what is left. To be stopped when nothing writes any more, while the databases are still open. */
  stop(): Promise<void>
}

export function startAuditTrail(deps: {
  zone: string
  database: Database
  relayDatabase: Database
  key: Secret<string>
  folder: string
  log: Log
}): AuditTrail {
  const { zone, database, relayDatabase, log } = deps
  const signer = createCheckpointSigner(zone, deps.key)
  const file = openCheckpointFile(deps.folder, zone)
  const attempts = gatherAttempts({ zone, database, log })
  const sealer = startSealer({ zone, relayDatabase, signer, file, log })
  return {
    async internalRoutes(server) {
      await auditRoutes(database, zone)(server)
      server.post(
        checkpointsPath(zone),
        {
          config: { access: { service: ['platform'] }, failures: [] },
          schema: { body: checkpointQuery, response: { 200: checkpointPage } },
        },
        (request) => findCheckpoints(database, request.body.after, request.body.limit),
      )
    },
    attempts,
    noteRefused(request, status) {
      const reason = `${request.method} ${request.routeOptions.url} answered ${status}`
      const object_id = objectOf(request.params)
      const attempt = { ...callerOf(request), action: 'request.refused' as const, object_id, reason }
      attempts.note({ ...attempt, result: 'refused' })
    },
    warnings: sealer.warnings,
    async stop() {
      await attempts.stop()
      await sealer.stop()
    },
  }
}

/** The id in the path where it is one of ours by its form: what else may stand there is for no record. */
function objectOf(params: unknown): string {
  const { id } = (params ?? {}) as { id?: unknown }
  const isId = typeof id === 'string' && /^[a-z]{2,5}_[0-9a-hjkmnp-tv-z]{26,36}$/.test(id)
  return isId && !/[0-9]{13}/.test(id) ? id : ''
}
