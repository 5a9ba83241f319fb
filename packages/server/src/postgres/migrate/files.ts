/** The numbered files of `packages/server/sql`: immutable once released, applied in order, each once. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

export type Migration = {
  readonly number: number;
  /** File name, e.g. `000001.sql`. */
  readonly file: string;
  readonly sql: string;
  /** SHA-256 of the file's bytes, hexadecimal. */
  readonly checksum: string;
};

/** Where the package keeps them; the same distance from `src` and from `dist`. */
const folder = new URL('../../../sql/', import.meta.url);

/** Reads the package's own migrations. Throws when a number is missing or given twice: then the package is broken. */
export async function readMigrations(directory: string = fileURLToPath(folder)): Promise<readonly Migration[]> {
  const files = (await readdir(directory)).filter((file) => /^\d{6}\.sql$/.test(file)).sort();
  const migrations: Migration[] = [];
  for (const file of files) {
    const sql = await readFile(`${directory}/${file}`, 'utf8');
    const number = Number(file.slice(0, 6));
    if (number !== migrations.length + 1)
      throw new Error(`${directory}: expected number ${migrations.length + 1}, found ${file}`);
    migrations.push({ number, file, sql, checksum: createHash('sha256').update(sql).digest('hex') });
  }
  return migrations;
}
