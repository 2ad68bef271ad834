import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import {
  cardFacts,
  cardFactsCall,
  connectionFacts,
  connectionFactsCall,
  type ForwardCall,
  forwardCall,
  forwardLook,
  forwardLooked,
  forwardResult,
  webhookSignaturesCall,
  webhookSignaturesChecked,
} from '@coffer/core/internal-api.ts'
import type { LocalCalls } from '@coffer/core/local-calls.ts'
import { cursorParameter, limitOf, limitParameter } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import type { Cards } from '../cards/cards.ts'
import { type Keyring, keyFailures } from '../keys/keyring.ts'
import type { Connections } from './connections.ts'
import type { Forwards } from './forwards.ts'
import { connection, connectionChange, connectionList, newConnection } from './schemas.ts'
import type { WebhookSignatures } from './webhook-signatures.ts'

const connectionId = Type.Object({ id: Type.String({ maxLength: 100 }) })

export function publicRoutes(connections: Connections): Routes {
  return async (server) => {
    server.post(
      '/v1/connections',
      {
        config: {
          access: { scope: 'admin' },
          failures: [
            'card_number_in_wrong_field',
            'connection_exists',
            'destination_not_allowed',
            ...keyFailures,
          ],
        },
        schema: { summary: 'Add an account at a PSP.', body: newConnection, response: { 201: connection } },
      },
      async (request, reply) =>
        reply.code(201).send(await connections.create(callerOf(request), request.body)),
    )

    server.get(
      '/v1/connections',
      {
        config: { access: { scope: 'admin' }, failures: [] },
        schema: {
          summary: 'The accounts at PSPs, oldest first.',
          querystring: Type.Object(
            { cursor: cursorParameter, limit: limitParameter },
            { additionalProperties: false },
          ),
          response: { 200: connectionList },
        },
      },
      ({ user, query }) => {
        const { cursor, limit } = query
        return connections.list(user.merchant_id, {
          ...(cursor !== undefined && { cursor }),
          limit: limitOf(limit),
        })
      },
    )

    server.get(
      '/v1/connections/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: {
          summary: 'An account at a PSP, without its secret.',
          params: connectionId,
          response: { 200: connection },
        },
      },
      (request) => connections.get(request.user.merchant_id, request.params.id),
    )

    server.patch(
      '/v1/connections/:id',
      {
        config: {
          access: { scope: 'admin' },
          failures: ['not_found', 'card_number_in_wrong_field', 'destination_not_allowed', ...keyFailures],
        },
        schema: {
          summary: "Change an account's secret, address or settings; take it out of use or back into it.",
          params: connectionId,
          body: connectionChange,
          response: { 200: connection },
        },
      },
      (request) => connections.change(callerOf(request), request.params.id, request.body),
    )
  }
}

/** For the platform only: it knows what to send, the vault decides whether and fills in what is secret. */
const service = ['platform']

/** What is called for every payment. */
export function localCalls(forwards: Forwards): LocalCalls {
  return {
    '/internal/forwards': {
      service,
      run: (call: ForwardCall, role, requestId) => forwards.forward(call, role, requestId),
    },
  }
}

export function internalRoutes(deps: {
  cards: Cards
  connections: Connections
  forwards: Forwards
  webhookSignatures: WebhookSignatures
  keyring: Keyring
}): Routes {
  return async (server) => {
    server.post(
      '/internal/forwards',
      {
        config: {
          access: { service },
          failures: ['connection_not_found', 'destination_not_allowed', ...keyFailures],
        },
        schema: { body: forwardCall, response: { 200: forwardResult } },
      },
      (request) => deps.forwards.forward(request.body, request.service.role, request.id),
    )

    server.post(
      '/internal/forwards/look',
      {
        config: { access: { service }, failures: [] },
        schema: { body: forwardLook, response: { 200: forwardLooked } },
      },
      (request) => deps.forwards.look(request.body, request.service.role, request.id),
    )

    server.post(
      '/internal/webhook-signatures',
      {
        config: { access: { service }, failures: [...keyFailures] },
        schema: { body: webhookSignaturesCall, response: { 200: webhookSignaturesChecked } },
      },
      async (request) => ({ valid: await deps.webhookSignatures.areValid(request.body) }),
    )

    server.post(
      '/internal/card-facts',
      {
        config: { access: { service }, failures: ['not_found'] },
        schema: { body: cardFactsCall, response: { 200: cardFacts } },
      },
      async (request) => {
        const { merchant_id, card_id } = request.body
        const card = await deps.cards.find(merchant_id, card_id)
        const { brand, bin, status, fingerprint, card_version_id: version } = card
        return { brand, bin, status, fingerprint, version }
      },
    )

    server.post(
      '/internal/connection-facts',
      {
        config: {
          access: { service },
          failures: ['connection_not_found', ...keyFailures],
        },
        schema: { body: connectionFactsCall, response: { 200: connectionFacts } },
      },
      (request) => {
        // Asked before a payment is accepted: without keys nothing could be sent for it.
        deps.keyring.ready()
        return deps.connections.facts(request.body.merchant_id, request.body.connection_id)
      },
    )
  }
}
