/**
 * `lanekeeper lab` and `lanekeeper drill` live in a package of their own, with PostgreSQL's programs in it, which no production host needs. So it is
 * loaded when it is called, and is handed what it needs of this command.
 */
import { Command } from 'commander';
import { type CliContext, CommandFailure, colorsFor, exitCodes } from './output.ts';

/** `LabContext` of that package, which this one must not import. */
type LabContext = CliContext & {
  readonly colors: ReturnType<typeof colorsFor>;
  fail(message: string, options?: { exitCode?: 1 | 2 | 4; hint?: string | null }): never;
};

/** What `lanekeeper help` lists; the real ones are `loadLab`'s. */
export function labCommand(): Command {
  return new Command('lab').description('run two or three data centers on this machine, for real, with a shop in them');
}

export function drillCommand(): Command {
  return new Command('drill').description('break things on purpose while customers shop, and check what is left');
}

/** The real command. Throws when the package is not installed. */
export async function loadLab(context: CliContext, command: 'lab' | 'drill'): Promise<Command> {
  // Not a literal: the lab depends on this package, and the compiler must not see a circle.
  const name: string = '@lanekeeper/lab/cli';
  const lab = await import(name).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new CommandFailure('The lab is not installed here.', {
      exitCode: exitCodes.usage,
      hint: 'npm install --save-dev @lanekeeper/lab',
    });
  });
  const create = (lab as Record<string, (context: LabContext) => Command>)[`${command}Command`];
  if (create === undefined) throw new Error(`@lanekeeper/lab has no ${command}`);
  return create({
    ...context,
    colors: colorsFor(context.stdout, context.env),
    fail: (message, options = {}) => {
      throw new CommandFailure(message, options);
    },
  });
}
