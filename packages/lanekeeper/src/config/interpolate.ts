/**
 * `${NAME}` in values of a YAML or JSON file is replaced by the environment variable NAME, so that what differs between
 * environments and what is secret stays out of the file. `$${` stands for a literal `${`. Keys are never interpolated.
 */
import { formatPath, type Path, type Problem } from './problem.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export type Interpolated = {
  readonly value: unknown;
  readonly problems: readonly Problem[];
  /** Replaces what came from the environment by what stands in the file: messages must not repeat a secret. */
  readonly conceal: (problem: Problem) => Problem;
};

export function interpolate(value: unknown, env: Environment): Interpolated {
  const problems: Problem[] = [];
  const filled = new Map<string, { readonly written: string; readonly value: string }>();
  return { value: walk(value, []), problems, conceal };

  function conceal(problem: Problem): Problem {
    const found = filled.get(formatPath(problem.path));
    if (found === undefined) return problem;
    const shown = `\`${found.written}\``;
    const message = problem.message
      .replaceAll(`\`${found.value}\``, () => shown)
      .replaceAll(JSON.stringify(found.value), () => shown);
    return { ...problem, message };
  }

  function walk(node: unknown, path: Path): unknown {
    if (typeof node === 'string') return node.includes('${') ? text(node, path) : node;
    if (Array.isArray(node)) return node.map((child, index) => walk(child, [...path, index]));
    if (typeof node !== 'object' || node === null) return node;
    const result: Record<string, unknown> = {};
    for (const [key, child] of Object.entries(node)) {
      // Assignment would set the prototype for `__proto__`, and the key would pass unseen.
      Object.defineProperty(result, key, {
        value: walk(child, [...path, key]),
        enumerable: true,
        writable: true,
        configurable: true,
      });
    }
    return result;
  }

  function text(written: string, path: Path): string {
    const value = written.replaceAll(
      /(\$?)\$\{([^}]*)(\}?)/g,
      (whole, escaped: string, name: string, close: string) => {
        if (escaped !== '') return whole.slice(1);
        const fail = (message: string, hint: string): string => {
          problems.push({ severity: 'error', path, at: 'value', within: whole, message, hint });
          return '';
        };
        if (close === '' || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
          return fail(
            'This is not the name of an environment variable',
            // biome-ignore lint/suspicious/noTemplateCurlyInString: this is what to write.
            'Write ${NAME}; for the two characters themselves write $${.',
          );
        }
        const found = env[name];
        if (found === undefined)
          return fail(`The environment variable ${name} is not set`, 'Set it where this process is started.');
        if (found === '')
          return fail(`The environment variable ${name} is empty`, 'Give it a value, or remove it from here.');
        return found;
      },
    );
    filled.set(formatPath(path), { written, value });
    return value;
  }
}
