/** Which PostgreSQL the tests run on: the one that npm brings, or another one (`npm run test:postgres`). */
import { findNative } from '@lanekeeper/lab';

/** For tests of what older ones do not have, e.g. `test.runIf(postgresMajor >= 17)`. */
export const postgresMajor = (await findNative()).major;
