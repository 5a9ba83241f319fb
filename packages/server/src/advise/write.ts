/** A guess as YAML, every line with its reason as a comment. Pure. */
import type { Guess, TableGuess } from './infer.ts';

/** The sections `tables`, `ignore`, `claims` and `fixed`. `dataCenter`: where what has one place begins. */
export function writeSections(guess: Guess, dataCenter: string): string {
  const parts = [
    `# Every table of the application: what it holds, and how a row finds its account.\ntables:\n${tablesText(guess)}`,
    ...(guess.ignored.length > 0
      ? [
          `# Tables that Lanekeeper leaves alone.\nignore:\n${guess.ignored
            .map(({ name, why }) => `  - ${scalar(name)} # ${comment(why)}\n`)
            .join('')}`,
        ]
      : []),
    ...(guess.claims.length > 0
      ? [
          `# Values that must be unique in all data centers: the application claims them before it writes them.\nclaims:\n${guess.claims
            .map(
              ({ name, table, column, normalise, mode, why }) =>
                `  # ${comment(why)}\n  ${word(name)}: ${flow({ table, column, ...(normalise === 'lower' ? { normalise } : {}), ...(mode === 'one-dc' ? { mode, dataCenter } : {}) })}\n`,
            )
            .join('')}`,
        ]
      : []),
    ...(guess.fixed === null
      ? []
      : [
          `# Homes that belong to no account. Routes that write such tables say so: { home: '${guess.fixed}' }.\nfixed:\n  ${guess.fixed}: ${scalar(dataCenter)}\n`,
        ]),
  ];
  return parts.join('\n');
}

/** Grouped by what becomes of them, the accounts first. */
function tablesText({ tables, root }: Guess): string {
  if (tables.length === 0) return '  {}\n';
  const groups = new Map<string, TableGuess[]>();
  const ordered = [...tables].sort((a, b) => rank(a, root?.table.name) - rank(b, root?.table.name));
  for (const guess of ordered) groups.set(title(guess), [...(groups.get(title(guess)) ?? []), guess]);
  return [...groups].map(([heading, guesses]) => `  # ── ${heading}\n${guesses.map(tableText).join('')}`).join('\n');
}

function tableText({ table, written, why, remark }: TableGuess): string {
  const notes = [`  # ${comment(why)}`, ...(remark === null ? [] : [`  # to decide: ${comment(remark)}`])];
  return `${notes.join('\n')}\n  ${word(table.name)}: ${flow(written)}\n`;
}

function rank({ table, written }: TableGuess, root: string | undefined): number {
  if (table.name === root) return 0;
  if (written.account !== undefined) return 1;
  const classes = ['system-of-record', 'system-of-reference', 'read-only', 'static-content', 'cache', 'session-state'];
  return 2 + classes.indexOf(written.class);
}

function title({ written }: TableGuess): string {
  if (written.account !== undefined) return 'belong to an account: written at its home';
  if (written.home !== undefined) return 'belong to no account, and have one fixed home';
  const titles = {
    'system-of-record': 'written in the one home of everything',
    'system-of-reference': 'written anywhere, and merged',
    'read-only': 'written by one data center, read by all',
    'static-content': 'written by one data center, read by all',
    cache: 'stay where they are written',
    'session-state': 'stay where they are written',
  };
  return titles[written.class];
}

/** A YAML flow mapping on one line, without what is not set. */
function flow(fields: Readonly<Record<string, unknown>>): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}: ${typeof value === 'string' ? scalar(value) : JSON.stringify(value)}`);
  return `{ ${pairs.join(', ')} }`;
}

/** On one line, whatever a table is called: what follows a line break would be configuration. */
function comment(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ');
}

/** A value; what would be filled in from the environment is marked as meant. A key is a `word` as it is. */
export function scalar(text: string): string {
  return word(text.replaceAll('${', () => '$${'));
}

/** A plain word where YAML takes it for one, else a quoted string. */
function word(text: string): string {
  const plain = /^[A-Za-z_][A-Za-z0-9_.-]*$/.test(text) && !/^(y|n|yes|no|true|false|on|off|null|~)$/i.test(text);
  return plain ? text : JSON.stringify(text);
}

export type FirstFacts = {
  readonly cluster: string;
  readonly dataCenter: string;
  /** Without user and password. */
  readonly database: string;
  /** The role that owns the tables. */
  readonly owner: string;
  /** In words: what the guess rests on. */
  readonly basis: string;
};

/** A whole configuration: one data center, everything observed and nothing refused. */
export function firstConfigurationOf(guess: Guess, facts: FirstFacts): string {
  const { cluster, dataCenter, database, owner } = facts;
  const domain = `${cluster.replaceAll('_', '-').replace(/-+$/, '')}.example`;
  const approach = guess.root === null ? 'active-passive' : 'full-active-active';
  return `# Written by \`lanekeeper adopt\`: a first guess, to be read and corrected line by line. ${facts.basis}
# Check it: lanekeeper config check; see what it would do: lanekeeper plan. Every field: docs/reference/lanekeeper.example.yaml.
cluster: ${scalar(cluster)}

${comment(approachNote(guess))}
approach: ${approach}

# One data center, and nothing is refused: what would have been is counted and logged. When nothing is counted any more, remove
# this line, and only then add the second data center.
enforce: observe

dataCenters:
  ${scalar(dataCenter)}:
    number: 1 # never to be changed: sequences depend on it
    place: ${scalar(dataCenter.toUpperCase())}
    faultDomain: ${scalar(dataCenter)} # what fails together: region, power grid
    database: ${scalar(database)}
    url: https://${dataCenter}.${domain} # what customers type
    agents: []
    applications: []

# The witness: outside every data center, for a second one to be possible.
leases:
  url: postgres://witness.${domain}:5432/witness

# PostgreSQL roles. The owner is who owns the tables now; the application must not own them: \`lanekeeper doctor\` prints the grants.
roles:
  owner: ${scalar(owner)}
  application: ${scalar(applicationOf(owner))}

${writeSections(guess, dataCenter)}
sessions:
  keys: [] # lanekeeper keys new --dc ${dataCenter}

# Numbers drawn from sequences step by this much. Never to be changed.
stride: 8
`;
}

function applicationOf(owner: string): string {
  return owner === 'lanekeeper_application' ? 'lanekeeper_application_rows' : 'lanekeeper_application';
}

function approachNote({ root }: Guess): string {
  if (root === null)
    return '# No table was found whose rows are the accounts, so everything has one home. With --account-table TABLE: a home for each account.';
  const others = root.others.length === 0 ? '' : ` Others that could be: ${root.others.join(', ')} (--account-table).`;
  return `# The accounts are ${root.table.name} (${root.why}).${others} Which approach fits: lanekeeper advise approach.`;
}
