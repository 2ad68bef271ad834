/** Stand-ins for the key services that can wrap data keys, each on a port of its own. */
import { join } from 'node:path'
import Fastify from 'fastify'
import { openKeptKeys } from './keys/kept-keys.ts'
import { sandboxKeyArn, serveKms } from './keys/kms.ts'
import { sandboxKeyName, sandboxToken, serveOpenBao } from './keys/openbao.ts'

export type KeyServices = {
  kms_url: string
  /** Of a key that is there from the start, as is that of OpenBao. */
  kms_key_arn: string
  openbao_url: string
  openbao_key_name: string
  openbao_token: string
  stop(): Promise<void>
}

/** @param config without a folder, keys live in memory only. Any free ports are taken. */
export async function startKeyServices(config: {
  host: string
  data_directory?: string
}): Promise<KeyServices> {
  const { host, data_directory } = config
  const keysOf = (name: string) =>
    openKeptKeys(data_directory === undefined ? undefined : join(data_directory, `${name}-keys.json`))
  const kms = Fastify({ forceCloseConnections: true })
  const openbao = Fastify({ forceCloseConnections: true })
  serveKms(kms, keysOf('kms'))
  serveOpenBao(openbao, keysOf('openbao'))
  const [kms_url, openbao_url] = await Promise.all([
    kms.listen({ host, port: 0 }),
    openbao.listen({ host, port: 0 }),
  ])
  return {
    kms_url,
    kms_key_arn: sandboxKeyArn,
    openbao_url,
    openbao_key_name: sandboxKeyName,
    openbao_token: sandboxToken,
    async stop() {
      await Promise.all([kms.close(), openbao.close()])
    },
  }
}
