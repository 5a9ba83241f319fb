/** Values that a careless reader of rows loses, for every type that PostgreSQL brings along and some that users make. */
import { runSql } from './clusters.ts';

/** Run before the types are used. */
export const createAwkwardTypes = `
  CREATE TYPE mood AS ENUM ('sad', 'so "so", \\ ''ok''', 'happy');
  CREATE DOMAIN even AS int CHECK (value % 2 = 0);
  CREATE DOMAIN words AS text[];
  CREATE TYPE place AS (name text, at point, moods mood[]);
  CREATE TYPE floats AS RANGE (subtype = float8, multirange_type_name = floats_many);
`;

/** By type: written so that the type reads them. */
export const awkwardValues: Readonly<Record<string, readonly string[]>> = {
  boolean: ['t', 'f'],
  smallint: ['-32768', '32767'],
  integer: ['-2147483648', '0'],
  bigint: ['-9223372036854775808', '9223372036854775807', '9007199254740993'],
  numeric: ['NaN', 'Infinity', '-Infinity', '0.000', '1e131071', '-1e-16383', '12345678901234567890.10'],
  'numeric(5,-2)': ['123456'],
  real: ['-0', 'NaN', '-Infinity', '1e-45', '0.1', '3.4028235e38'],
  'double precision': ['-0', 'NaN', 'Infinity', '5e-324', '0.1', '1.7976931348623157e308', '123456789.12345679'],
  money: ['-92233720368547758.08', '0.01'],
  text: ['', ' ', 'NULL', '\\N', 'null', 'it\'s "quoted" \\ here\n\t\u0001', '\uFEFFbom', '\u{1F600} e\u0301'],
  'varchar(3)': ['', 'ab '],
  'char(5)': ['a', '', 'é'],
  '"char"': ['x', '\\377'],
  name: ['a name'],
  bytea: ['\\x', '\\x00ff27225c', '\\x4e554c4c'],
  date: ['4714-11-24 BC', '0044-03-15 BC', 'infinity', '-infinity', '5874897-12-31', '2024-02-03'],
  time: ['24:00:00', '00:00:00.000001'],
  'time(0)': ['23:59:59'],
  timetz: ['23:59:59.999999-15:59:59', '24:00:00+05:45'],
  timestamp: ['4714-11-24 00:00:00 BC', '-infinity', '294276-12-31 23:59:59.999999', '2024-02-03 04:05:06.7'],
  timestamptz: [
    '4714-11-24 00:00:00+00 BC',
    'infinity',
    '294276-12-31 23:59:59.999999+00',
    '2024-11-03 01:30:00-04',
    '1850-01-01 00:00:00+05:41:16',
  ],
  interval: ['-178000000 years', '1 mon -1 day 00:00:00.000001', '-00:00:01', 'P1Y2M3DT4H5M6.789S', '0'],
  'interval day to second(3)': ['1 2:03:04.5678'],
  uuid: ['ffffffff-ffff-ffff-ffff-ffffffffffff'],
  json: ['null', '{"a" : 1, "a":2}', ' [ 1 ] ', '"\\u00e9"', '1e400'],
  jsonb: ['null', '{"b": null, "a": [1.10, -0]}', '"null"', '12345678901234567890.123', '[]'],
  jsonpath: ['$."a b"[*] ? (@ > 1)', 'strict $.a'],
  xml: ['<a>&lt;</a>', 'text <b/>'],
  inet: ['::ffff:1.2.3.4/128', '10.1.2.3/8', '::1'],
  cidr: ['10.0.0.0/8', '2001:db8::/32'],
  macaddr: ['08:00:2b:01:02:03'],
  macaddr8: ['08:00:2b:ff:fe:01:02:03'],
  'bit(5)': ['10101', '00000'],
  'bit varying': ['', '0', '0000000000000000000000000000000000000000000000000000000000000000001'],
  point: ['(-0,0.1)', '(NaN,Infinity)'],
  line: ['{1,-1,0.1}'],
  lseg: ['[(0,0),(-0,1)]'],
  box: ['(2,2),(-0,0)'],
  path: ['((0,0),(1,1))', '[(0,0),(1,1)]'],
  polygon: ['((0,0),(1,1),(2,0.1))'],
  circle: ['<(0,-0),0.1>'],
  tsvector: ["'a b':1A,2 'it''s':3", ''],
  tsquery: ["'a' & !'b c':*AB | 'd' <2> 'e'"],
  int4range: ['empty', '(,)', '[1,3)', '(,5]'],
  int8range: ['[-9223372036854775808,)'],
  numrange: ['(1.10,NaN)', '[,)'],
  tsrange: ['["4714-11-24 00:00:00 BC",infinity)'],
  tstzrange: ['[2024-01-01 00:00:00+00,)', 'empty'],
  daterange: ['(-infinity,infinity)', '[2024-02-03,)'],
  int4multirange: ['{}', '{[1,2),[5,)}'],
  nummultirange: ['{(,1.0],(2.50,)}'],
  datemultirange: ['{(,"0044-03-15 BC")}'],
  tstzmultirange: ['{[2024-01-01 00:00:00+00,2024-01-02 00:00:00+00)}'],
  pg_lsn: ['FFFFFFFF/FFFFFFFF', '0/0'],
  pg_snapshot: ['10:20:10,14,15'],
  txid_snapshot: ['10:20:10'],
  oid: ['4294967295'],
  xid: ['4294967295'],
  xid8: ['18446744073709551615'],
  cid: ['7'],
  tid: ['(4294967295,65535)'],
  regclass: ['pg_catalog.pg_class', '-'],
  regtype: ['public.mood', 'integer'],
  regproc: ['pg_catalog.now'],
  regnamespace: ['public'],
  int2vector: ['1 2 3', ''],
  oidvector: ['1 4294967295'],
  refcursor: ['c'],
  aclitem: ['=r*/postgres'],
  'integer[]': ['{}', '[-1:1]={1,NULL,3}', '{{1,2},{3,4}}', '[0:0][5:6]={{1,2}}'],
  'text[]': ['{NULL,"NULL","",null,"a,b","\\"\\\\{}"," "}', '{{a},{"b c"}}'],
  'jsonb[]': ['{"null",NULL,"{\\"a\\": 1}"}'],
  'bytea[]': ['{"\\\\x00",NULL}'],
  'timestamptz[]': ['{infinity,"0044-03-15 00:00:00+00 BC"}'],
  mood: ['so "so", \\ \'ok\'', 'sad'],
  'mood[]': ['{sad,"so \\"so\\", \\\\ \'ok\'"}'],
  even: ['-2', '0'],
  words: ['[3:4]={a,NULL}'],
  place: ['("a ""b"", \\\\",,)', '(,"(-0,1)","{sad,NULL}")', '(,,)'],
  'place[]': ['{NULL,"(a,,)"}'],
  floats: ['[-0,0.1)', 'empty', '(,NaN)'],
  floats_many: ['{[-0,0.1),[1,)}'],
  hstore: ['"a b"=>NULL, "c"=>"NULL", ""=>""'],
  citext: ['MiXed'],
};

const extensions = ['hstore', 'citext'];

/** The types of `awkwardValues` that this PostgreSQL has; installs the extensions that it can. */
export async function awkwardTypes(superuserUrl: string): Promise<string[]> {
  const available = await runSql<{ name: string }>(superuserUrl, 'SELECT name FROM pg_available_extensions');
  const installed = extensions.filter((name) => available.some((one) => one.name === name));
  for (const name of installed) await runSql(superuserUrl, `CREATE EXTENSION ${name}`);
  // Without libxml there is a type that reads nothing.
  const hasXml = await runSql(superuserUrl, `SELECT '<a/>'::xml`).then(
    () => true,
    () => false,
  );
  return Object.keys(awkwardValues).filter(
    (type) => (!extensions.includes(type) || installed.includes(type)) && (type !== 'xml' || hasXml),
  );
}
