/** What nobody can measure, said once. The rest of the table is measured. */
import { type ApproachName, approaches } from 'lanekeeper/model';

export type Stated = {
  /** What an application has to be changed for, beside installing the SDK. */
  readonly changes: string;
  /** What the people who run it have to be able to do. */
  readonly competence: string;
};

export const stated: Readonly<Record<ApproachName, Stated>> = {
  'active-passive': {
    changes: 'none',
    competence: 'low: one database is written; practise the switchover',
  },
  'active-active-apps': {
    changes: 'none in its statements; few of them per page',
    competence: 'low to medium: watch the distance and the statements per page',
  },
  'mostly-active-active': {
    changes: 'every homed table finds its account; unique values are claimed',
    competence: 'medium: two databases are written; accounts have homes',
  },
  'full-active-active': {
    changes: 'every homed table finds its account; unique values are claimed',
    competence: 'high: two databases are written, and edges send customers home',
  },
  'stateless-frontends': {
    changes: 'split into frontends without a database and backends that answer calls',
    competence: 'high: as the approach of its backends, and two deployments',
  },
};

export const approachNames = Object.keys(approaches) as readonly ApproachName[];
