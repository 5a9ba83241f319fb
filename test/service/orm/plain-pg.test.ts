import { openPlainPg } from './plain-pg.ts';
import { ormSuite } from './suite.ts';

ormSuite('plain pg', openPlainPg);
