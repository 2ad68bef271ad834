/** What every `start-<role>.ts` gives: routes for somebody else to listen for, and a way to stop. */
import type { FastifyRequest } from 'fastify'
import type { Routes, TokenCheck } from './http-server.ts'
import type { LocalCalls } from './local-calls.ts'

export type Role = {
  name: string
  publicRoutes: Routes
  internalRoutes: Routes
  /** Those of them that a role in the same process may call without HTTP. */
  localCalls?: LocalCalls
  tokenCheck: TokenCheck
  /** @throws Failure naming what is missing, while the role cannot serve. */
  ready(): Promise<void>
  /** Keeps a request that was refused in the audit trail. */
  noteRefused(request: FastifyRequest, status: number): void
  /** What an operator must know of though the role can serve, such as an export that fails. */
  warnings(): string[]
  /** Ends background work, waits for what was accepted, closes connections. */
  stop(): Promise<void>
}
