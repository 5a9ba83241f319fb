/** The text that `lanekeeper init` writes: valid as it stands, to be filled in. */
import type { ApproachName } from 'lanekeeper/model';

export type FirstConfiguration = {
  readonly cluster: string;
  readonly dataCenters: readonly string[];
  readonly approach: ApproachName;
  readonly stride: number;
};

export function firstConfiguration({ cluster, dataCenters, approach, stride }: FirstConfiguration): string {
  // Host names have no underscore.
  const domain = `${cluster.replaceAll('_', '-').replace(/-+$/, '')}.example`;
  const first = dataCenters[0]!;
  return `# What this cluster is. Every field: docs/reference/lanekeeper.example.yaml; check it: lanekeeper config check.
# Passwords and private keys never stand here: they come from the environment (LANEKEEPER_<ROLE>_PASSWORD,
# LANEKEEPER_SIGNING_KEY). LANEKEEPER_DC says in which data center a process is.
cluster: ${cluster}
approach: ${approach}

# As seen from the data center where this file is used: how each reaches the others may differ from place to place.
dataCenters:
${dataCenters.map((name, index) => dataCenter(name, index + 1, domain)).join('')}
# The witness: a small PostgreSQL outside every data center, which knows who may write. For production rather an etcd of three
# members: store: etcd, endpoints: [https://etcd-1.${domain}:2379, …].
leases:
  url: postgres://witness.${domain}:5432/witness

# PostgreSQL roles, the same in every data center. \`lanekeeper doctor\` prints the grants that are missing.
roles:
  owner: ${cluster.replaceAll('-', '_')}_owner
  application: ${cluster.replaceAll('-', '_')}_application
  agent: lanekeeper_agent
  replication: lanekeeper_replication

# Who owns the accounts that existed before Lanekeeper did.
accounts:
  existing: ${first}

# Every table of the application: what it holds, and how a row finds its account.
tables:
  accounts: { class: system-of-record, account: id, root: true }
  # orders: { class: system-of-record, account: account_id }
  # order_lines: { class: system-of-record, account: order_id.account_id } # order_id refers to orders, its account_id
  # products: { class: read-only, feeder: ${first} }

# Tables that Lanekeeper leaves alone, for example those of a migration tool.
ignore: []

# Values that must be unique in all data centers.
# claims:
#   email: { table: accounts, column: email, normalise: lower }

sessions:
  domain: ${domain} # what the host names of all data centers end in
  keys: ./keys.json

# Numbers drawn from sequences step by this much. Never to be changed.
stride: ${stride}
`;
}

function dataCenter(name: string, number: number, domain: string): string {
  return `  ${name}:
    number: ${number} # never to be changed: sequences depend on it
    place: ${name.toUpperCase()}
    faultDomain: ${name} # what fails together: region, power grid
    database: postgres://${name}-database.${domain}:5432/application
    url: https://${name}.${domain} # what customers type
    agents: [http://${name}-agent.${domain}:7411]
    applications: [http://${name}-application.${domain}:8080]
`;
}
