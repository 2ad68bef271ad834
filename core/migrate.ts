/**
 * Numbered, forward-only migrations, each in one transaction, under the zone's migrator login. A database
 * that is ahead of this code is refused: old code must not write into a schema it does not know.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Secret } from './secret.ts'

const advisoryLock = 7_263_001

/** @returns the names of the migrations that were applied now. */
export async function migrate(url: Secret<string>, folder: string): Promise<string[]> {
  const files = readdirSync(folder)
    .filter((file) => /^\d{6}_\w+\.sql$/.test(file))
    .sort()
  const client = new pg.Client({ connectionString: url.expose(), application_name: 'coffer migrate' })
  await client.connect()
  try {
    await client.query(`set lock_timeout = '10s'`)
    await client.query('select pg_advisory_lock($1)', [advisoryLock])
    await client.query(
      `create table if not exists schema_migrations (
         name text primary key, applied_at timestamptz not null default now())`,
    )
    const applied = (await client.query<{ name: string }>('select name from schema_migrations')).rows.map(
      (row) => row.name,
    )
    const unknown = applied.filter((name) => !files.includes(name))
    if (unknown.length > 0)
      throw new Error(`the database is ahead of this version: it has ${unknown.join(', ')}`)
    const missing = files.filter((file) => !applied.includes(file))
    for (const file of missing) {
      await client.query('begin')
      await client.query(readFileSync(join(folder, file), 'utf8'))
      await client.query('insert into schema_migrations (name) values ($1)', [file])
      await client.query('commit')
    }
    return missing
  } finally {
    await client.end()
  }
}

/** The schema as text, in a fixed order, from the catalog: committed, and compared by a test. */
export async function dumpSchema(url: Secret<string>): Promise<string> {
  const client = new pg.Client({ connectionString: url.expose(), application_name: 'coffer schema dump' })
  await client.connect()
  try {
    const lines = (await client.query<{ line: string }>(schemaQuery)).rows.map((row) => row.line)
    return `${lines.join('\n')}\n`
  } finally {
    await client.end()
  }
}

const schemaQuery = `
  with tables as (
    select c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.reloptions from pg_class c
    join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and c.relkind in ('r', 'p')
  ), lines as (
    select relname, 0 as part, 0 as place, 'table ' || relname || case when relrowsecurity then ' (row security' ||
      case when relforcerowsecurity then ', forced)' else ')' end else '' end
      || coalesce(' with ' || array_to_string(reloptions, ', '), '') as line from tables
    union all
    select relname, 1, attnum, '  column ' || attname || ' ' || format_type(atttypid, atttypmod)
      || case when attnotnull then ' not null' else '' end
      || case when attidentity <> '' then ' identity' else '' end
      || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
      || case when attacl is null then '' else ' granted ' ||
        (select string_agg(a::text, ' ' order by a::text) from unnest(attacl) a) end
    from tables join pg_attribute a on a.attrelid = tables.oid and attnum > 0 and not attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    union all
    select relname, 2, row_number() over (partition by relname order by conname)::int,
      '  constraint ' || conname || ' ' || pg_get_constraintdef(k.oid)
    from tables join pg_constraint k on k.conrelid = tables.oid and k.contype <> 'n'
    union all
    select relname, 3, row_number() over (partition by relname order by i.indexrelid::regclass::text)::int,
      '  ' || regexp_replace(pg_get_indexdef(i.indexrelid), ' ON public\\.', ' on ')
    from tables join pg_index i on i.indrelid = tables.oid
    where not exists (select from pg_constraint k where k.conindid = i.indexrelid)
    union all
    select relname, 4, row_number() over (partition by relname order by polname)::int,
      '  policy ' || polname || ' for ' || polcmd::text || ' to '
      || coalesce((select string_agg(rolname, ', ' order by rolname) from pg_roles where oid = any(polroles)), 'public')
      || coalesce(' using ' || pg_get_expr(polqual, polrelid), '')
      || coalesce(' check ' || pg_get_expr(polwithcheck, polrelid), '')
    from tables join pg_policy p on p.polrelid = tables.oid
    union all
    select relname, 5, row_number() over (partition by relname order by grantee.rolname)::int,
      '  grant ' || string_agg(acl.privilege_type, ', ' order by acl.privilege_type)
      || ' to ' || coalesce(grantee.rolname, 'public')
    from tables cross join lateral aclexplode(relacl) acl left join pg_roles grantee on grantee.oid = acl.grantee
    where acl.grantee <> (select relowner from pg_class where oid = tables.oid)
    group by relname, grantee.rolname
    union all
    select '', 0, row_number() over (order by oid::regprocedure::text)::int, 'function ' || oid::regprocedure
      || ' returns ' || prorettype::regtype || case when prosecdef then ' security definer' else '' end
      || ' as ' || regexp_replace(coalesce(pg_get_function_sqlbody(oid), prosrc), '\\s+', ' ', 'g')
    from pg_proc where pronamespace = 'public'::regnamespace
  )
  select line from lines order by relname, part, place`
