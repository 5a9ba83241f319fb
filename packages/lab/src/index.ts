/** What the tests, the bench and the drills use of the lab. */
export {
  type Cluster,
  type ClusterOptions,
  type SettingValue,
  type StopMode,
  startCluster,
} from './clusters/cluster.ts';
export { asSuperuser, type DatabaseOptions, ensureDatabase, type Role, roleUrl } from './clusters/database.ts';
export { freePort } from './clusters/ports.ts';
export { type LeashedProcess, liveProcesses, runLeashed, spawnLeashed } from './processes/leash.ts';
export { descendantsOf, sleepMs } from './processes/observe.ts';
