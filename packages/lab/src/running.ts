/** How commands find the lab that is running. */
import type { LabContext } from './context.ts';
import { findDescription, type LabDescription, readDescription } from './lab/description.ts';
import { isSameProcess } from './processes/observe.ts';

/** The lab in `dir`, else in LANEKEEPER_LAB, else the one started here or in a folder above. */
export async function runningLab(context: LabContext, dir: string | undefined): Promise<LabDescription> {
  const file = findDescription(context.directory, dir ?? context.env.LANEKEEPER_LAB);
  const description = file === null ? null : readDescription(file);
  if (description && (await isSameProcess(description.pid, description.processStart))) return description;
  const where = dir ?? context.env.LANEKEEPER_LAB;
  return context.fail(where ? `No lab runs in ${where}.` : 'No lab runs here.', {
    exitCode: 4,
    hint: '`lanekeeper lab` starts one; --dir or LANEKEEPER_LAB names its folder.',
  });
}
