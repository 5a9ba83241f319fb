/** Tables that belong to no account, judged by how they are written: merged, published, or each data center's own. Pure. */
import type { Table } from 'lanekeeper/config';
import type { TableInfo } from '../catalog.ts';
import { quoteTable } from '../fence/names.ts';
import type { Found } from './finding.ts';
import { namesConfiguration } from './lint-names.ts';

/** Written in several data centers, its writes merged by PostgreSQL. */
export function isMerged(declared: Table): boolean {
  return declared.policy !== null && declared.writes === 'replicated';
}

export function lintShared(table: TableInfo, declared: Table): Found[] {
  const found: Found[] = [];
  const subject = table.name;
  if (isMerged(declared)) found.push(...lintMerged(table));
  const leaves = declared.feeder !== null || isMerged(declared) || declared.writes !== 'replicated';
  if (leaves && declared.class !== 'system-of-record' && namesConfiguration(table.relation)) {
    found.push({
      severity: 'warning',
      code: 'table-like-configuration',
      subject,
      what: `${subject} looks like configuration, and it is replicated`,
      why: 'a setting that breaks the application breaks it in all data centers at once; one at a time, it could be taken back',
      mend: `ignore: [${JSON.stringify(subject)}]   and write it in one data center after the other; if it is content, leave it`,
    });
  }
  return found;
}

function lintMerged(table: TableInfo): Found[] {
  return table.uniqueIndexes
    .filter((index) => !index.primary)
    .map((index) => ({
      severity: 'error',
      code: 'unique-on-merged',
      subject: `${index.name} on ${table.name}`,
      what: `${index.columns.join(', ') || 'an expression'} must be unique in a table that every data center writes`,
      why: 'two data centers write the same value in two rows, and neither row can be merged where the other one is',
      mend: `make it the primary key; or let one data center write ${quoteTable(table)}: feeder, or system-of-record with a fixed home`,
    }));
}
