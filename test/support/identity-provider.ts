/**
 * An OpenID Connect identity provider and somebody's browser: oidc-provider issues the tokens, openid-client asks for
 * them by the authorization code flow, and who signs in is whoever the request says.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SignJWT } from 'jose'
import * as openid from 'openid-client'
import type { Scope } from './product.ts'

export const audience = 'coffer'
const redirectUri = 'http://127.0.0.1/signed-in'
const keyId = 'the-issuers-key'

export type IdentityProvider = {
  issuer: string
  /** What access is set to for it. */
  environment: Record<string, string>
  /** Signs in and gives the ID token; `roles` are in the claim `roles`. */
  signIn(subject: string, roles?: string[]): Promise<Tokens>
  /** A token that the issuer's own key has signed, whatever is in it; what is undefined is left out. */
  sign(claims?: Record<string, unknown>, header?: Record<string, unknown>, key?: KeyObject): Promise<string>
  public_key: KeyObject
  /** How often its keys were asked for. */
  keys_asked(): number
  /** Answers nobody any more. */
  stop(): Promise<void>
  startAgain(): Promise<void>
}
export type Tokens = { id_token: string; access_token: string }

/** The parts of oidc-provider that are used; it comes without types. */
type Provider = {
  callback(): (request: IncomingMessage, response: ServerResponse) => void
  interactionDetails(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<{
    prompt: { name: string }
    params: { login_hint: string; client_id: string }
    session?: { accountId: string }
  }>
  interactionFinished(request: IncomingMessage, response: ServerResponse, result: object): Promise<void>
  Grant: new (of: object) => { addOIDCScope(scope: string): void; save(): Promise<string> }
}

export async function startIdentityProvider(scope: Scope): Promise<IdentityProvider> {
  const name: string = 'oidc-provider'
  const { Provider } = await import(name)
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const rolesOf = new Map<string, string[]>()
  let asked = 0
  let provider: Provider

  async function interact(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { prompt, params, session } = await provider.interactionDetails(request, response)
    if (prompt.name === 'login')
      return provider.interactionFinished(request, response, { login: { accountId: params.login_hint } })
    const grant = new provider.Grant({ accountId: session?.accountId, clientId: params.client_id })
    grant.addOIDCScope('openid')
    await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } })
  }

  const server = createServer((request, response) => {
    if (request.url?.startsWith('/jwks')) asked += 1
    if (request.url?.startsWith('/interaction/'))
      interact(request, response).catch(() => response.writeHead(500).end())
    else provider.callback()(request, response)
  })
  await listen(server, 0)
  const { port } = server.address() as AddressInfo
  const issuer = `http://127.0.0.1:${port}`
  const stop = () => {
    server.closeAllConnections()
    return new Promise<void>((done) => server.close(() => done()))
  }
  scope.after(stop)
  provider = new Provider(issuer, {
    clients: [
      {
        client_id: audience,
        redirect_uris: [redirectUri],
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        id_token_signed_response_alg: 'ES256',
      },
    ],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: keyId, alg: 'ES256', use: 'sig' }] },
    cookies: { keys: ['a key for cookies of a test'] },
    claims: { openid: ['sub', 'roles'] },
    conformIdTokenClaims: false,
    findAccount: (_context: unknown, accountId: string) => ({
      accountId,
      claims: async () => ({ sub: accountId, roles: rolesOf.get(accountId) }),
    }),
    interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:coffer',
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: '',
          audience,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  }) as Provider

  return {
    issuer,
    environment: { OIDC_ISSUER: issuer, OIDC_AUDIENCE: audience },
    public_key: publicKey,
    keys_asked: () => asked,
    async signIn(subject, roles) {
      if (roles === undefined) rolesOf.delete(subject)
      else rolesOf.set(subject, roles)
      return signIn(issuer, subject)
    },
    sign(claims = {}, header = {}, key = privateKey) {
      const nowSeconds = Math.floor(Date.now() / 1000)
      const good = { iss: issuer, aud: audience, sub: 'ada', iat: nowSeconds, exp: nowSeconds + 300 }
      return new SignJWT({ ...good, ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: keyId, ...header })
        .sign(key)
    },
    stop,
    startAgain: () => listen(server, port),
  }
}

function listen(server: ReturnType<typeof createServer>, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail)
    server.listen(port, '127.0.0.1', done)
  })
}

/** Goes where the provider sends a browser, with its cookies, until it is sent back to the client. */
async function signIn(issuer: string, subject: string): Promise<Tokens> {
  const config = await openid.discovery(new URL(issuer), audience, undefined, openid.None(), {
    execute: [openid.allowInsecureRequests],
  })
  const verifier = openid.randomPKCECodeVerifier()
  const nonce = openid.randomNonce()
  let url = openid.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: 'openid',
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    login_hint: subject,
    nonce,
  })
  const cookies = new Map<string, string>()
  while (!url.href.startsWith(redirectUri)) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(url, { redirect: 'manual', headers: { cookie } })
    for (const line of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      cookies.set(name, value)
    }
    const location = answer.headers.get('location')
    if (location === null) throw new Error(`the identity provider answers ${answer.status}`)
    url = new URL(location, url)
  }
  const tokens = await openid.authorizationCodeGrant(config, url, {
    pkceCodeVerifier: verifier,
    expectedNonce: nonce,
  })
  return { id_token: tokens.id_token!, access_token: tokens.access_token }
}
