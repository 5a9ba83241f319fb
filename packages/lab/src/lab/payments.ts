/**
 * The payment service of an application that has one: one process outside of the data centers, as a bank would be. Each
 * data center has a link of its own to it. What it has charged is in the lab's folder and survives its restart.
 */
import { join } from 'node:path';
import type { LinksClient } from '../links/client.ts';
import type { ServiceSpec } from '../processes/supervisor.ts';
import type { LabAddresses } from './addresses.ts';
import type { LabApplication } from './application.ts';

/** In the links, and the first part of the service's name. */
export const paymentsSite = 'payments';

export type Payments = {
  readonly spec: ServiceSpec;
  /** By data center: the way to it, through its link. */
  readonly urls: Readonly<Record<string, string>>;
};

export async function findPayments(lab: {
  readonly application: LabApplication;
  readonly names: readonly string[];
  readonly addresses: LabAddresses;
  readonly links: LinksClient;
  readonly dir: string;
}): Promise<Payments | null> {
  const program = lab.application.payments;
  if (program === undefined) return null;
  const target = lab.addresses.payments;
  const urls: Record<string, string> = {};
  for (const from of lab.names) {
    const listen = { host: lab.addresses.hosts[from] as string, port: 0 };
    const route = await lab.links.addRoute({ from, to: paymentsSite, target, listen });
    urls[from] = `http://${route.listen.host}:${route.listen.port}`;
  }
  return {
    spec: {
      name: `${paymentsSite}-service`,
      command: program.command,
      args: program.args,
      env: { HOST: target.host, PORT: String(target.port), PAYMENT_JOURNAL: join(lab.dir, 'payments.journal') },
      address: target,
    },
    urls,
  };
}
