/** How commands speak to the agents of all data centers. */
import { type Configuration, loadConfiguration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { createKeyRing } from 'lanekeeper/session';
import { type PeerAnswer, type PeerCall, Peers } from '../agent/index.ts';
import { placeOfCommand } from './lab-file.ts';
import { type CliContext, CommandFailure, exitCodes } from './output.ts';

export type Agents = {
  readonly configuration: Configuration;
  call(dc: DataCenterName, call: PeerCall): Promise<PeerAnswer>;
  close(): Promise<void>;
};

/** Needs the signing key of the data center that asks: agents answer nobody else. */
export async function openAgents(
  context: CliContext,
  options: { readonly config?: string | undefined; readonly dc?: string | undefined },
): Promise<Agents> {
  const { env, config } = placeOfCommand(context, options);
  const { configuration } = await loadConfiguration({ file: config, env, directory: context.directory });
  const keys = createKeyRing(configuration, { env });
  if (keys.signingKey === null) {
    throw new CommandFailure('Agents answer only who signs with the key of a data center, and none is given.', {
      exitCode: exitCodes.configuration,
      hint: `Set LANEKEEPER_SIGNING_KEY or LANEKEEPER_SIGNING_KEY_FILE to the key of ${configuration.here}.`,
    });
  }
  const urls = Object.entries(configuration.dataCenters).map(([name, dc]) => [name, dc.agents] as const);
  const peers = new Peers(Object.fromEntries(urls), keys);
  return { configuration, call: (dc, call) => peers.call(dc, call), close: () => peers.close() };
}
