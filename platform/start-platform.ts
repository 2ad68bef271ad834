import type { Role } from '@coffer/core/role.ts'
export const settings = {}
export async function start(): Promise<Role> {
  const none = async () => { throw new Error('none') }
  return { name: 'platform', publicRoutes: async () => {}, internalRoutes: async () => {}, tokenCheck: { user: none, service: none }, ready: async () => {}, stop: async () => {} }
}
