/** Notes in the database which configuration and version lead here, and how well: the next data center waits for that. */
import { type Configuration, configurationDigest } from 'lanekeeper/config';
import { noteRollout, type RolloutEntry } from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';

export class Rollout {
  readonly digest: string;
  readonly version: string;
  readonly #database: Pick<LocalDatabase, 'run'>;
  readonly #healthy: () => boolean;
  #noted: RolloutEntry | null = null;

  constructor(
    configuration: Configuration,
    version: string,
    database: Pick<LocalDatabase, 'run'>,
    healthy: () => boolean,
  ) {
    this.digest = configurationDigest(configuration);
    this.version = version;
    this.#database = database;
    this.#healthy = healthy;
  }

  async note(): Promise<void> {
    this.#noted = await this.#database.run((client) => noteRollout(client, this.digest, this.version, this.#healthy()));
  }

  get status() {
    const { since = null, healthySince = null } = this.#noted ?? {};
    return { digest: this.digest, since, healthySince };
  }
}
