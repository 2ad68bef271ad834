/** A sandbox whose key provider is a key service gets a simulated one, where no other is set. */
import type { DataDirectory } from './data-directory.ts'

export type SandboxKeyService = { environment: Record<string, string>; stop(): Promise<void> }

type Settings = Record<string, string>

export async function startSandboxKeyService(
  directory: DataDirectory,
  settings: Settings,
): Promise<SandboxKeyService | undefined> {
  const isKms = settings['VAULT_KEY_PROVIDER'] === 'aws-kms' && settings['VAULT_KMS_KEY_ARN'] === undefined
  const isBao = settings['VAULT_KEY_PROVIDER'] === 'openbao' && settings['VAULT_OPENBAO_URL'] === undefined
  if (!isKms && !isBao) return undefined
  const { startKeyServices } = await import('@coffer/simulators/start-key-services.ts')
  const data_directory = directory.file('simulators')
  const services = await startKeyServices({ host: '127.0.0.1', data_directory })
  if (isKms) {
    // Where the AWS SDK looks for them; the simulator takes any.
    process.env['AWS_ACCESS_KEY_ID'] ??= 'AKIDSANDBOX'
    process.env['AWS_SECRET_ACCESS_KEY'] ??= 'sandbox'
    const environment = { VAULT_KMS_KEY_ARN: services.kms_key_arn, VAULT_KMS_ENDPOINT: services.kms_url }
    return { environment, stop: services.stop }
  }
  const tokenFile = 'openbao-token'
  directory.writePrivateFile(tokenFile, services.openbao_token)
  const environment = {
    VAULT_OPENBAO_URL: services.openbao_url,
    VAULT_OPENBAO_TOKEN_PATH: directory.file(tokenFile),
    VAULT_OPENBAO_KEY: services.openbao_key_name,
  }
  return { environment, stop: services.stop }
}
