/** A real etcd for tests, of one member or three, which can be killed, paused and started again one by one. */
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  type EtcdMember,
  etcdArguments,
  freePort,
  type LeashedProcess,
  sleepMs,
  spawnLeashed,
  watchOver,
} from '@lanekeeper/lab';
import type { EtcdLeaseStoreOptions } from '@lanekeeper/server/lease';
import type { WrittenConfiguration } from 'lanekeeper/config';

export type TestEtcd = {
  readonly dir: string;
  readonly endpoints: readonly string[];
  /** As a store connects that may. */
  readonly access: Pick<EtcdLeaseStoreOptions, 'endpoints' | 'login' | 'tls'>;
  /** The same as a person would write it. */
  readonly written: WrittenConfiguration['leases'];
  /** The number of the member that leads. */
  leader(): Promise<number>;
  start(member: number): Promise<void>;
  kill(member: number): Promise<void>;
  signal(member: number, name: 'SIGSTOP' | 'SIGCONT'): void;
  /** As the administrator. */
  control(...args: readonly string[]): Promise<string>;
  stop(): Promise<void>;
};

const run = promisify(execFile);

export type TestEtcdOptions = {
  readonly members: 1 | 3;
  /** Members and clients show certificates, and users passwords. Default false. */
  readonly secured?: boolean;
  /** Of the user `lanekeeper`. Default: made up. */
  readonly password?: string;
};

export async function testEtcd(options: TestEtcdOptions): Promise<TestEtcd> {
  const { secured = false } = options;
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-etcd-'));
  const released = watchOver({ folders: [dir] });
  const scheme = secured ? 'https' : 'http';
  const members: EtcdMember[] = [];
  for (let number = 0; number < options.members; number++) {
    members.push({
      name: `m${number}`,
      clientUrl: `${scheme}://127.0.0.1:${await freePort('127.0.0.1')}`,
      peerUrl: `http://127.0.0.1:${await freePort('127.0.0.1')}`,
    });
  }
  const endpoints = members.map(({ clientUrl }) => clientUrl);
  const files = secured ? makeCertificates(dir) : null;
  const processes = new Map<number, LeashedProcess>();
  const token = randomBytes(6).toString('hex');
  const password = options.password ?? randomBytes(9).toString('base64url');
  const client = files?.client;
  const trust = client === undefined ? [] : ['--cacert', client.ca, '--cert', client.cert, '--key', client.key];
  let credentials: readonly string[] = [];

  const control = async (...args: readonly string[]): Promise<string> => {
    const common = ['--endpoints', endpoints.join(','), '--command-timeout', '3s', ...trust, ...credentials];
    const env = { ...process.env, ETCDCTL_API: '3' };
    return (await run('etcdctl', [...common, ...args], { env, timeout: 20_000 })).stdout;
  };
  const spawnMember = async (number: number): Promise<void> => {
    const log = openSync(join(dir, `m${number}.log`), 'a');
    const member = members[number] as EtcdMember;
    const tls = files === null ? {} : { tls: files.members };
    // Passwords that nobody will steal need not cost a busy machine a tenth of a second each.
    const args = [...etcdArguments(member, { dir, members, token, ...tls }), '--bcrypt-cost', '4'];
    processes.set(number, await spawnLeashed('etcd', args, { stdout: log, stderr: log, lastSignal: 'KILL' }));
    closeSync(log);
  };
  const healthy = async (): Promise<void> => {
    for (let attempt = 0; attempt < 100; attempt++) {
      if (
        await control('get', 'anything').then(
          () => true,
          () => false,
        )
      )
        return;
      await sleepMs(100);
    }
    throw new Error(`etcd did not start: ${readFileSync(join(dir, 'm0.log'), 'utf8').slice(-2000)}`);
  };
  const etcd: TestEtcd = {
    dir,
    endpoints,
    access: {
      endpoints,
      login: secured ? { user: 'lanekeeper', password } : null,
      tls: client === undefined ? {} : contents(client),
    },
    written: {
      store: 'etcd',
      endpoints: [...endpoints],
      ...(client === undefined ? {} : { user: 'lanekeeper', tls: client }),
    },
    async leader() {
      // It fails when one member is down, and says what it knows of the others.
      const asked = control('endpoint', 'status', '-w', 'json');
      const said = await asked.catch((error: { readonly stdout: string }) => error.stdout);
      const status = JSON.parse(said) as {
        readonly Endpoint: string;
        readonly Status: { readonly header: { readonly member_id: number }; readonly leader: number };
      }[];
      const leader = status.find(({ Status }) => Status.header.member_id === Status.leader);
      return endpoints.indexOf(leader?.Endpoint ?? '');
    },
    async start(member) {
      await spawnMember(member);
      await healthy();
    },
    async kill(member) {
      const found = processes.get(member);
      found?.signal('SIGKILL');
      await found?.exited;
    },
    signal: (member, name) => processes.get(member)?.signal(name),
    control,
    async stop() {
      await Promise.all(
        [...processes.values()].map(async (one) => {
          one.signal('SIGKILL');
          await one.exited;
        }),
      );
      await rm(dir, { recursive: true, force: true });
      released();
    },
  };
  try {
    await Promise.all(members.map((_, number) => spawnMember(number)));
    await healthy();
    if (secured) {
      const rootPassword = randomBytes(9).toString('base64url');
      await control('user', 'add', `root:${rootPassword}`);
      await control('user', 'grant-role', 'root', 'root').catch(() => control('role', 'add', 'root'));
      await control('user', 'add', `lanekeeper:${password}`);
      await control('role', 'add', 'lanekeeper');
      await control('role', 'grant-permission', 'lanekeeper', 'readwrite', 'lanekeeper/', '--prefix');
      await control('user', 'grant-role', 'lanekeeper', 'lanekeeper');
      await control('auth', 'enable');
      credentials = ['--user', `root:${rootPassword}`];
    }
    return etcd;
  } catch (error) {
    await etcd.stop();
    throw error;
  }
}

type TlsFiles = { readonly ca: string; readonly cert: string; readonly key: string };

function contents({ ca, cert, key }: TlsFiles) {
  return { ca: readFileSync(ca, 'utf8'), cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
}

/** An authority of our own, and a certificate each for the members and for whoever asks them. */
function makeCertificates(dir: string): { readonly members: TlsFiles; readonly client: TlsFiles } {
  const openssl = (...args: readonly string[]) => execFileSync('openssl', [...args], { stdio: 'ignore' });
  const made = (name: string, subject: string, ...more: readonly string[]) => {
    const [cert, key] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)];
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
    openssl('req', '-x509', ...newKey, '-out', cert, '-days', '1', '-subj', subject, ...more);
    return { cert, key };
  };
  const { cert: ca, key: caKey } = made('ca', '/CN=test authority');
  const signed = ['-CA', ca, '-CAkey', caKey, '-addext', 'basicConstraints=critical,CA:FALSE'];
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  // A member's gateway shows the member's certificate to the member itself.
  const uses = ['-addext', 'extendedKeyUsage=serverAuth,clientAuth'];
  return {
    members: { ca, ...made('member', '/CN=etcd', ...signed, ...names, ...uses) },
    // Without a CommonName: the gateway refuses those while users authenticate by password.
    client: { ca, ...made('client', '/O=lanekeeper', ...signed, '-addext', 'extendedKeyUsage=clientAuth') },
  };
}
