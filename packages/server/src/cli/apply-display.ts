/** What `apply` shows while it works: on a terminal one list that moves, otherwise a line per step. */
import { Listr, type ListrTaskWrapper } from 'listr2';
import type { ApplyEvent, Step } from '../postgres/index.ts';
import type { CliContext, Output } from './output.ts';

export type ApplyDisplay = {
  progress(event: ApplyEvent): void;
  streams(): void;
  waiting(what: string): void;
  /** Resolves when nothing more is drawn. */
  end(how: 'done' | 'failed'): Promise<void>;
};

/** With `--json`, nothing: the result says it all. */
export function createApplyDisplay(context: CliContext, output: Output): ApplyDisplay {
  if (output.json) return { progress: () => {}, streams: () => {}, waiting: () => {}, end: async () => {} };
  return context.stdout.isTTY === true && context.stdout === process.stdout ? movingDisplay() : plainDisplay(output);
}

/** What an event says, in one line; null when there is nothing new in it. */
function lineOf(event: ApplyEvent): string | null {
  switch (event.kind) {
    case 'waiting-for-lock':
      return event.holder
        ? `waiting for ${event.holder.applicationName} (process ${event.holder.pid} of ${event.holder.role}), which is changing this database`
        : 'waiting for another process that is changing this database';
    case 'retrying':
      return `${event.step.lock?.table ?? event.step.id} is in use, asking again (${event.attempt})`;
    case 'progress':
      return `${event.step.title}: ${event.rows}${ofAbout(event.step)} rows`;
    case 'done':
      return event.step.title;
    case 'planned':
    case 'started':
    case 'postponed':
      return null;
  }
}

function ofAbout(step: Step): string {
  return step.estimatedRows ? ` of about ${step.estimatedRows}` : '';
}

function plainDisplay(output: Output): ApplyDisplay {
  let last = '';
  const say = (line: string | null): void => {
    if (line === null || line === last) return;
    last = line;
    output.line(line);
  };
  return {
    progress: (event) => say(lineOf(event)),
    streams: () => {},
    waiting: (what) => say(`waiting: ${what}`),
    end: async () => {},
  };
}

type Task = ListrTaskWrapper<unknown, never, never>;

/** A list whose one task lasts as long as the command works; its output is the step at hand. */
function movingDisplay(): ApplyDisplay {
  let finish: (how: 'done' | 'failed') => void = () => {};
  let task: Task | null = null;
  let total = 0;
  let done = 0;
  const work = new Promise<void>((resolve, reject) => {
    finish = (how) => (how === 'done' ? resolve() : reject(new Error('Database: not finished')));
  });
  // It may fail before the list has come to it.
  work.catch(() => {});
  const list = new Listr(
    [
      {
        title: 'Database',
        task: (_context, self) => {
          task = self as unknown as Task;
          return work;
        },
        rendererOptions: { outputBar: 1 },
      },
    ],
    { concurrent: true, rendererOptions: { collapseSubtasks: false } },
  );
  // Why it failed is said by the command.
  const running = list.run().catch(() => {});
  const show = (text: string): void => {
    if (task) task.output = text;
  };
  return {
    progress: (event) => {
      if (event.kind === 'planned') {
        total = event.plan.steps.filter((step) => step.waitsFor === null).length;
        done = 0;
      }
      if (event.kind === 'done') done += 1;
      if (task && total > 0) task.title = `Database: ${done} of ${total} steps`;
      const line = lineOf(event);
      if (line !== null) show(line);
    },
    streams: () => show('streams'),
    waiting: (what) => show(`waiting: ${what}`),
    end: async (how) => {
      finish(how);
      await running;
    },
  };
}
