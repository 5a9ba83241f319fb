/** What the tests, the bench and the drills use of the lab. */

export { cacheFolder } from './clusters/cache.ts';
export {
  type Cluster,
  type ClusterOptions,
  type StopMode,
  startCluster,
} from './clusters/cluster.ts';
export { asSuperuser, type DatabaseOptions, ensureDatabase, type Role, roleUrl } from './clusters/database.ts';
export { type EtcdMember, etcdArguments, missingEtcd } from './clusters/etcd.ts';
export { findNative, locateNative, type Native } from './clusters/native.ts';
export { canListenOn, freePort } from './clusters/ports.ts';
export type { SettingValue } from './clusters/settings.ts';
export { type Standby, type StandbyOptions, startStandby } from './clusters/standby.ts';
export type { DataCenterDescription, LabDescription } from './lab/description.ts';
export { type LinksAccess, LinksClient, LinksError, type LinksState } from './links/client.ts';
export type { DirectionSettings, LinkMode } from './links/direction.ts';
export { type DirectionState, Links, type Route, type RouteRequest } from './links/links.ts';
export { startLinks } from './links/start.ts';
export { type Belongings, watchOver } from './processes/caretaker.ts';
export { type LeashedProcess, liveProcesses, runLeashed, spawnLeashed } from './processes/leash.ts';
export { descendantsOf, sleepMs } from './processes/observe.ts';
export { readyUrl } from './processes/ready.ts';
