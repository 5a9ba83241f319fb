/** The data centers and the witness as seen from here, judged against each other. Pure. */
import type { Configuration, RoleName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Unavailable } from '../connect.ts';
import type { Found } from './finding.ts';
import type { Identity } from './probe.ts';

export type Seen = { readonly dc: DataCenterName; readonly identity: Identity };

/** A role that could not connect. */
export function judgeConnection(
  failure: Unavailable,
  where: string,
  role: RoleName | 'witness',
  dc: DataCenterName,
): Found {
  const variables = `LANEKEEPER_${role.toUpperCase()}_PASSWORD, or LANEKEEPER_${dc.toUpperCase()}_${role.toUpperCase()}_PASSWORD`;
  const mend: Partial<Record<Unavailable['reason'], string>> = {
    'wrong-password': variables,
    'no-password': variables,
  };
  return {
    severity: 'error',
    code: `connect-${failure.reason}`,
    subject: `${role} to ${where}`,
    what: failure.message,
    why: whyConnect[role],
    ...(mend[failure.reason] ? { mend: mend[failure.reason] ?? null } : {}),
  };
}

const whyConnect: Readonly<Record<RoleName | 'witness', string>> = {
  owner: '`apply` works as the owner',
  application: 'the application works as this role',
  agent: 'the agent keeps the lease and watches the streams of both sides',
  replication: 'the streams are read as this role',
  witness: 'without the witness there is no lease, and without a lease nothing is written',
};

export function judgeIdentities(configuration: Configuration, here: Seen, peers: readonly Seen[]): Found[] {
  const found: Found[] = [];
  for (const seen of [here, ...peers]) found.push(...judgeInstallation(configuration, seen));
  for (const peer of peers) {
    const between = `${here.dc} and ${peer.dc}`;
    if (peer.identity.database === here.identity.database) {
      found.push({
        severity: 'error',
        code: 'same-database',
        subject: between,
        what: `${between} are the same database`,
        why: 'a data center has a PostgreSQL of its own',
        mend: `dataCenters.${peer.dc}.database`,
      });
      continue;
    }
    found.push(...judgePair(configuration, here, peer, between));
  }
  return found;
}

function judgeInstallation(configuration: Configuration, { dc, identity }: Seen): Found[] {
  const ours = `${configuration.cluster}/${dc}`;
  if (identity.installation === null || identity.installation === ours) return [];
  return [
    {
      severity: 'error',
      code: 'other-installation',
      subject: dc,
      what: `the database of ${dc} belongs to ${identity.installation}`,
      why: `this configuration says it is ${ours}`,
      mend: `dataCenters.${dc}.database`,
    },
  ];
}

function judgePair(configuration: Configuration, here: Seen, peer: Seen, subject: string): Found[] {
  const found: Found[] = [];
  const apartMs = Math.round(Math.abs(here.identity.clockAheadMs - peer.identity.clockAheadMs));
  const { skewMs } = configuration.leases;
  if (apartMs > skewMs / 4) {
    found.push({
      severity: apartMs > skewMs ? 'error' : 'warning',
      code: 'clocks-apart',
      subject,
      what: `their clocks are ${apartMs} ms apart`,
      why: 'people and logs compare times of both; a clock that steps back takes the lease with it',
      mend: 'synchronise both with NTP (chrony)',
    });
  }
  if (here.identity.encoding !== peer.identity.encoding) {
    found.push({
      severity: 'error',
      code: 'encodings-differ',
      subject,
      what: `their encodings are ${here.identity.encoding} and ${peer.identity.encoding}`,
      why: 'text of one may not exist in the other: such a row stops the stream',
    });
  }
  if (here.identity.order !== peer.identity.order) {
    found.push({
      severity: 'advice',
      code: 'collations-differ',
      subject,
      what: `they sort text differently (${here.identity.order}; ${peer.identity.order})`,
      why: 'the same list stands in another order, and `verify` of tables with text keys reads them without an index',
    });
  }
  const major = (version: number) => Math.floor(version / 10_000);
  if (major(here.identity.version) !== major(peer.identity.version)) {
    found.push({
      severity: 'advice',
      code: 'versions-differ',
      subject,
      what: `they run PostgreSQL ${major(here.identity.version)} and ${major(peer.identity.version)}`,
      why: 'right during an upgrade, and not for long',
    });
  }
  return found;
}
