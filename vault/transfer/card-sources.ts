/** Where cards come from: the ids, network transaction ids and references that they had at another place. */
import type { Database } from '@coffer/core/postgres.ts'
import type { CardSourceList } from './import-schemas.ts'

export type CardSources = ReturnType<typeof createCardSources>

export type SourceFilter = { card?: string; source?: string; source_id?: string }

type SourceRow = {
  card_id: string
  source: string
  source_id: string
  network_transaction_id: string | null
  psp_reference: string | null
  import_id: string
  created_at: Date
}

const shown = 'card_id, source, source_id, network_transaction_id, psp_reference, import_id, created_at'
/** A card has as many as there were rows of it. */
const foundMax = 100

export function createCardSources(database: Database) {
  return {
    /** Those of a card, or of an id at a source: one of the two is needed. */
    async find(merchantId: string, filter: SourceFilter): Promise<CardSourceList> {
      const rows = await findSources(database, merchantId, filter)
      return { data: rows.map(sourceOf), next_cursor: null }
    },
  }
}

async function findSources(
  database: Database,
  merchantId: string,
  filter: SourceFilter,
): Promise<SourceRow[]> {
  const { card, source, source_id } = filter
  if (card !== undefined)
    return database.read<SourceRow>([merchantId], {
      name: 'find_card_sources',
      text: `select ${shown} from card_sources where card_id = $2 and merchant_id = $1
               and ($3::text is null or source = $3) and ($4::text is null or source_id = $4)
             order by card_id, merchant_id limit $5`,
      values: [merchantId, card, source ?? null, source_id ?? null, foundMax],
    })
  if (source === undefined || source_id === undefined) return []
  return database.read<SourceRow>([merchantId], {
    name: 'find_card_by_source',
    text: `select ${shown} from card_sources where merchant_id = $1 and source = $2 and source_id = $3`,
    values: [merchantId, source, source_id],
  })
}

const sourceOf = (row: SourceRow): CardSourceList['data'][number] => ({
  object: 'card_source',
  card: row.card_id,
  source: row.source,
  source_id: row.source_id,
  network_transaction_id: row.network_transaction_id,
  psp_reference: row.psp_reference,
  import: row.import_id,
  created_at: row.created_at.toISOString(),
})
