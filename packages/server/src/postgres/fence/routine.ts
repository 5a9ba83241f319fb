/** Generated functions that are called by name from `sql/`: what differs from one data center, or one schema, to the next. */
import type { Claim, Configuration } from 'lanekeeper/config';
import { LanekeeperError, singleAccount } from 'lanekeeper/model';
import type { Catalog, TableInfo } from '../catalog.ts';
import type { Piece } from '../piece.ts';
import { type AccountPath, accountColumns, accountExpression, resolveAccountPath } from './account-path.ts';
import { func, trigger } from './homed-table.ts';
import { functionName, quoteName, quoteTable, quoteText } from './names.ts';

/** How much lease must be left for a statement or a commit to pass, in milliseconds: longer than a commit takes to reach the disk. */
export const leaseMarginMs = 250;

/** Settings that decide how a value prints, pinned so that two data centers print the same value alike. */
export const pinnedSettings = [
  "DateStyle = 'ISO, YMD'",
  "IntervalStyle = 'postgres'",
  "TimeZone = 'UTC'",
  "bytea_output = 'hex'",
  'extra_float_digits = 1',
  "xmloption = 'content'",
].map((setting) => `SET ${setting}`);

function routine(signature: string, returns: string, attributes: string, body: string, title: string): Piece {
  const name = signature.slice(0, signature.indexOf('('));
  return {
    kind: 'function',
    id: `function ${name}`,
    table: null,
    title,
    create: `CREATE OR REPLACE FUNCTION ${signature} RETURNS ${returns} ${attributes} AS $lanekeeper$${body}$lanekeeper$;
REVOKE ALL ON FUNCTION ${signature} FROM PUBLIC`,
    drop: `DROP FUNCTION IF EXISTS ${signature.replace(/\b[a-z_]+ ((?:text|bigint)(?:\[\])?)/g, '$1')}`,
  };
}

/** Constants of this data center, inlined by the planner. */
export function constantPieces(configuration: Configuration): Piece[] {
  const names = Object.values(configuration.dataCenters)
    .toSorted((a, b) => a.number - b.number)
    .map((dc) => quoteText(dc.name));
  const constant = (name: string, type: string, value: string, title: string) =>
    routine(`lanekeeper.${name}()`, type, 'LANGUAGE sql IMMUTABLE PARALLEL SAFE', `SELECT ${value}`, title);
  return [
    constant('dc', 'text', `${quoteText(configuration.here)}::text`, 'the name of this data center'),
    constant('dcs', 'text[]', `ARRAY[${names.join(', ')}]::text[]`, 'the names of all data centers'),
    constant('homes', 'text', `${quoteText(configuration.homes)}::text`, 'one home for all accounts, or one for each'),
    constant('mode', 'text', `${quoteText(configuration.enforce)}::text`, 'refuse wrong writes, or only observe them'),
    constant(
      'lease_margin_ms',
      'double precision',
      `${leaseMarginMs}::double precision`,
      'how much lease a commit needs',
    ),
  ];
}

/** A table whose rows all follow one deed. */
export type SingleTable = { readonly table: TableInfo; readonly account: string };

function rowsDigest(table: TableInfo): string {
  const columns = table.columns
    .filter((column) => !column.generated)
    .map((column) => column.name)
    .toSorted()
    .map((column) => `r.${quoteName(column)}`);
  return `count(*), coalesce(sum(hashtextextended(ROW(${columns.join(', ')})::text COLLATE "C", 0)), 0)`;
}

/** `lanekeeper.digest(account)`: count and hash sum of the account's own rows in every homed table. */
export function digestPiece(paths: readonly AccountPath[], singles: readonly SingleTable[]): Piece {
  const parts = paths.map((path) => {
    const joins = path.steps.map((step, index) => {
      const from = index === 0 ? 'r' : `p${index}`;
      const on = step.columns.map(
        (column, i) => `p${index + 1}.${quoteName(step.referencedColumns[i] ?? '')} = ${from}.${quoteName(column)}`,
      );
      return ` JOIN ${quoteTable(step.parent)} p${index + 1} ON ${on.join(' AND ')}`;
    });
    const last = path.steps.length === 0 ? 'r' : `p${path.steps.length}`;
    return `
  SELECT ${rowsDigest(path.table)} INTO n, h
    FROM ${quoteTable(path.table)} r${joins.join('')} WHERE ${last}.${quoteName(path.column)} = asked::${path.columnType};
  result := result || ' ' || n || ':' || h;`;
  });
  // A fixed home takes whole tables along. The one home of everything moves by a switchover, which reads no rows.
  const fixed = [...new Set(singles.map(({ account }) => account))]
    .filter((account) => account !== singleAccount)
    .map(
      (account) => `
  IF asked = ${quoteText(account)} THEN${singles
    .filter((single) => single.account === account && single.table.partitionOf === null)
    .map(
      ({ table }) => `
    SELECT ${rowsDigest(table)} INTO n, h FROM ${quoteTable(table)} r;
    result := result || ' ' || n || ':' || h;`,
    )
    .join('')}
    RETURN result;
  END IF;`,
    );
  return routine(
    'lanekeeper.digest(asked text)',
    'text',
    `LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ${pinnedSettings.join(' ')}`,
    `
DECLARE
  n bigint;
  h numeric;
  result text := '1'; -- the version of this recipe
BEGIN
  IF asked LIKE 'claim:%' THEN
    SELECT count(*), coalesce(sum(hashtextextended(ROW(c.account, c.confirmed, c.name, c.value)::text COLLATE "C", 0)), 0) INTO n, h
      FROM lanekeeper.claim c WHERE lanekeeper.claim_bucket(c.name, c.value) = asked;
    RETURN result || ' ' || n || ':' || h;
  END IF;${fixed.join('')}${parts.join('')}
  RETURN result;
END
`,
    'the digest that an account takes along when it moves',
  );
}

/**
 * `lanekeeper.account_of(relation, columns, values)`: the account of a homed row that is known as text, through its
 * parents. NULL when the columns that lead there are not among the known ones, or a parent is not here.
 */
export function accountOfPiece(paths: readonly AccountPath[], singles: readonly SingleTable[]): Piece {
  const value = (column: string) => `vals[array_position(columns, ${quoteText(column)})]`;
  const parts = paths.map((path) => {
    const needed = accountColumns(path);
    const row = needed.map((column) => {
      const type = path.table.columns.find((info) => info.name === column)?.type ?? 'text';
      return `${value(column)}::${type} AS ${quoteName(column)}`;
    });
    return `
  IF of_relation = ${quoteText(path.table.name)} AND columns @> ARRAY[${needed.map(quoteText).join(', ')}]::text[] THEN
    RETURN (SELECT ${accountExpression(path, 'r', false)} FROM (SELECT ${row.join(', ')}) r);
  END IF;`;
  });
  const all = singles.map(
    ({ table, account }) => `
  IF of_relation = ${quoteText(table.name)} THEN
    RETURN ${quoteText(account)};
  END IF;`,
  );
  return routine(
    'lanekeeper.account_of(of_relation text, columns text[], vals text[])',
    'text',
    `LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ${pinnedSettings.join(' ')}`,
    `
BEGIN${parts.join('')}${all.join('')}
  RETURN NULL;
END
`,
    'whose a row is that is known as text: one that was stranded, or differs',
  );
}

/** `lanekeeper.fence_proof()`: no rows when every trigger of ours is in place and enabled, and homes are gone by as elsewhere. */
export function proofPiece(
  triggers: readonly { readonly table: TableInfo; readonly name: string; readonly enabled: 'O' | 'R' }[],
): Piece {
  const own: readonly (readonly [string, string, string, string])[] = [
    ['lanekeeper', 'tick', 'lanekeeper_commit', 'O'],
    ['lanekeeper', 'deed', 'guard_epoch', 'A'],
    ['lanekeeper', 'deed', 'tell_deed', 'R'],
    ['lanekeeper', 'claim', 'guard_claim', 'R'],
    ['lanekeeper', 'repair', 'apply_repair', 'R'],
    ['lanekeeper', 'change', 'apply_change', 'R'],
  ];
  const rows = [
    ...own,
    ...triggers.map(({ table, name, enabled }) => [table.schema, table.relation, name, enabled] as const),
  ].map((row) => `(${row.map(quoteText).join(', ')})`);
  return routine(
    'lanekeeper.fence_proof()',
    'TABLE (relation text, trigger_name text, problem text)',
    'LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp',
    `
BEGIN
  RETURN QUERY
    SELECT e.s || '.' || e.r, e.t, CASE WHEN t.oid IS NULL THEN 'missing' ELSE 'disabled' END
    FROM (VALUES ${rows.join(',\n      ')}) e (s, r, t, enabled)
    LEFT JOIN pg_namespace n ON n.nspname = e.s
    LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = e.r
    LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = e.t
    WHERE t.oid IS NULL OR NOT (t.tgenabled::text = e.enabled OR e.enabled = 'O' AND t.tgenabled = 'A')
    ORDER BY 1, 2;
  RETURN QUERY SELECT 'lanekeeper.homed_as', 'homes', p FROM lanekeeper.homes_problem() p WHERE p IS NOT NULL;
END
`,
    'the proof that the fence is whole, without which there is no lease',
  );
}

/** What claims need to know of the user's tables, and the triggers on the claimed columns. */
export function claimPieces(configuration: Configuration, catalog: Catalog): Piece[] {
  const claims = Object.values(configuration.claims).map((claim) => {
    const declared = configuration.tables[claim.table];
    const table = catalog.tables.get(claim.table);
    if (!declared || !table?.columns.some((column) => column.name === claim.column)) {
      throw new LanekeeperError(
        'LK_CONFIG',
        `claims.${claim.name}: there is no column ${claim.table}.${claim.column}.`,
      );
    }
    return { claim, table, path: resolveAccountPath(table, declared, catalog) };
  });
  const normal = (claim: Claim, value: string) => (claim.normalise === 'lower' ? `lower(${value})` : value);
  const attributes = 'LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp';
  return [
    routine(
      'lanekeeper.claim_normal(claim_name text, raw text)',
      'text',
      `${attributes} STABLE`,
      `
BEGIN
  ${claims.map(({ claim }) => `IF claim_name = ${quoteText(claim.name)} THEN RETURN ${normal(claim, 'raw')}; END IF;`).join('\n  ')}
  ${
    // Applications that claim run unchanged where a unique index is enough.
    configuration.homes === 'single'
      ? 'RETURN raw;'
      : `RAISE EXCEPTION USING ERRCODE = 'LK008', MESSAGE = format('no claim is declared with the name %s', claim_name);`
  }
END
`,
      'how claimed values are compared',
    ),
    routine(
      'lanekeeper.claim_in_use(claim_name text, claim_value text, of_account text)',
      'boolean',
      `${attributes} VOLATILE`,
      `
BEGIN
  ${claims
    .map(({ claim, table, path }) => {
      const mine =
        path.steps.length === 0
          ? `r.${quoteName(path.column)} = of_account::${path.columnType}`
          : `${accountExpression(path, 'r', false)} = of_account`;
      const value = normal(claim, `r.${quoteName(claim.column)}::text`);
      return `IF claim_name = ${quoteText(claim.name)} THEN
    RETURN EXISTS (SELECT FROM ${quoteTable(table)} r WHERE ${mine} AND ${value} = claim_value);
  END IF;`;
    })
    .join('\n  ')}
  RETURN false;
END
`,
      'whether a claimed value is used by a row',
    ),
    ...claims.flatMap(({ claim, table, path }) => claimTriggers(claim, table, path)),
  ];
}

function claimTriggers(claim: Claim, table: TableInfo, path: AccountPath): Piece[] {
  const name = functionName(`claim_${claim.name}`, table.name);
  const title = `refuse a ${claim.name} in ${table.name} that has not been claimed`;
  const column = `NEW.${quoteName(claim.column)}`;
  const check =
    claim.mode === 'one-dc'
      ? `
    IF lanekeeper.dc() <> ${quoteText(claim.dataCenter ?? '')} THEN
      PERFORM lanekeeper.refuse('LK008', ${quoteText(`every ${claim.name} is registered in ${claim.dataCenter}`)}, ${quoteText(table.name)},
        ${accountExpression(path, 'NEW', false)}, ${quoteText(claim.dataCenter ?? '')}, NULL, NULL, ${quoteText(`Send the request to ${claim.dataCenter}.`)});
    END IF;`
      : `
    PERFORM lanekeeper.require_claim(${quoteText(claim.name)}, ${column}::text, ${accountExpression(path, 'NEW', false)}, ${quoteText(table.name)});`;
  const changed = `OLD.${quoteName(claim.column)} IS DISTINCT FROM ${column}`;
  return [
    func(
      name,
      table,
      title,
      `
BEGIN
  IF ${column} IS NOT NULL THEN${check}
  END IF;
  RETURN NULL;
END`,
    ),
    trigger(table, `lanekeeper_claim_${claim.name}_insert`, 'AFTER INSERT', 'ROW', `${name}()`, title),
    trigger(
      table,
      `lanekeeper_claim_${claim.name}_update`,
      'AFTER UPDATE',
      'ROW',
      `${name}()`,
      title,
      ` WHEN (${changed})`,
    ),
  ];
}

/** What the application's role may do in our schema: call these functions and nothing else. */
export function grantPieces(configuration: Configuration): Piece[] {
  const functions = [
    'dc()',
    'dcs()',
    'where_is(text)',
    'touch(text)',
    'claim_holder(text, text)',
    'record_outcome(text, text, jsonb)',
    'outcome_of(text)',
    'sync_state()',
    'await_peers(integer)',
    'reaffirm()',
    'log_place()',
    'arrived(text)',
    'has_arrived(text, pg_lsn)',
    'cuts()',
    'enlist(text)',
    'drained(bigint, text)',
    'conflict_of(bigint)',
    'tend_singletons(text, text[], boolean[], bigint[])',
    'leave_singleton(text, boolean)',
    'guard_singleton(text, boolean, bigint)',
    'hold_session(text, text, text, text, text, text, bigint)',
    'release_session(text, text, text)',
    'refuse_plain_write(text, text)',
    'buffer_append(text, jsonb, boolean)',
    'direct_begin(text, jsonb, boolean, interval)',
    'direct_end(bigint, text[], boolean)',
    'spread_apply(text, text[], jsonb, bigint, text, bigint)',
    'copy_as_of(text)',
    'copy_state(text)',
  ].map((signature) => `lanekeeper.${signature}`);
  const grant = (role: string, schemaRights: string[], what: string): Piece => ({
    kind: 'grant',
    id: `grant to ${role}`,
    table: null,
    title: what,
    create: [`GRANT USAGE ON SCHEMA lanekeeper TO ${quoteName(role)}`, ...schemaRights].join(';\n'),
    drop: `REVOKE ALL ON SCHEMA lanekeeper FROM ${quoteName(role)}`,
  });
  const { application, agent, replication } = configuration.roles;
  return [
    grant(
      application,
      [`GRANT EXECUTE ON FUNCTION ${functions.join(', ')} TO ${quoteName(application)}`],
      'let applications ask where an account is',
    ),
    grant(
      agent,
      [
        `GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA lanekeeper TO ${quoteName(agent)}`,
        `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lanekeeper TO ${quoteName(agent)}`,
        `GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA lanekeeper TO ${quoteName(agent)}`,
      ],
      'let the agent keep the lease and move accounts',
    ),
    grant(replication, [], 'let peers read the stream'),
  ];
}
