/** A mistake, before anyone has looked up where in the file it is. */

export type Path = readonly (string | number)[];

export type Problem = {
  readonly severity: 'error' | 'warning';
  /** What it is about; a path that is not in the file is shown at its nearest parent that is. */
  readonly path: Path;
  /** Whether the caret goes under the key or under its value. */
  readonly at: 'key' | 'value';
  /** Narrows the caret to the first occurrence of this text within the value. */
  readonly within?: string;
  /** What is wrong, one sentence without a full stop. */
  readonly message: string;
  /** What would be right, or null when the message already says so. */
  readonly hint: string | null;
};

/** `dataCenters.ny.agents[0]`, as in the documentation. */
export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[\w-]+$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

export class Problems {
  readonly list: Problem[] = [];

  error(path: Path, message: string, hint: string | null = null, at: Problem['at'] = 'value'): void {
    this.list.push({ severity: 'error', path, at, message, hint });
  }

  warn(path: Path, message: string, hint: string | null = null, at: Problem['at'] = 'value'): void {
    this.list.push({ severity: 'warning', path, at, message, hint });
  }

  get failed(): boolean {
    return this.list.some((problem) => problem.severity === 'error');
  }
}
