/** Stand-ins for the key services that can wrap data keys, each on a port of its own. */
import { join } from 'node:path'
import Fastify from 'fastify'
import { openKeptKeys } from './kept-keys.ts'
import { serveKms } from './kms.ts'
import { serveOpenBao } from './openbao.ts'

export type KeyServices = { kms_url: string; openbao_url: string; stop(): Promise<void> }

/** @param config without a folder, keys live in memory only; without ports, any free ones are taken. */
export async function startKeyServices(config: {
  host: string
  data_directory?: string | undefined
  kms_port?: number
  openbao_port?: number
}): Promise<KeyServices> {
  const { host, data_directory } = config
  const keysOf = (name: string) =>
    openKeptKeys(data_directory === undefined ? undefined : join(data_directory, `${name}-keys.json`))
  const kms = Fastify({ forceCloseConnections: true })
  const openbao = Fastify({ forceCloseConnections: true })
  serveKms(kms, keysOf('kms'))
  serveOpenBao(openbao, keysOf('openbao'))
  const [kms_url, openbao_url] = await Promise.all([
    kms.listen({ host, port: config.kms_port ?? 0 }),
    openbao.listen({ host, port: config.openbao_port ?? 0 }),
  ])
  return {
    kms_url,
    openbao_url,
    async stop() {
      await Promise.all([kms.close(), openbao.close()])
    },
  }
}
