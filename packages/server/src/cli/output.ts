/**
 * How commands speak: text for people on stdout, colour only where it is wanted, and with `--json` one JSON object per
 * line on stdout and nothing else there. An error is `{"error": {"code", "message", …}}`. What matters to a script is the
 * exit code.
 */
import { ConfigurationError, type Diagnostic, renderDiagnostics } from 'lanekeeper/config';
import { type ErrorCode, LanekeeperError } from 'lanekeeper/model';
import pc from 'picocolors';

/** What a command may touch of the process, so that tests can hand in their own. */
export type CliContext = {
  readonly env: NodeJS.ProcessEnv;
  /** The working directory. */
  readonly directory: string;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
};

export type OutputStream = { write(text: string): unknown; readonly isTTY?: boolean };

export function processContext(): CliContext {
  return { env: process.env, directory: process.cwd(), stdout: process.stdout, stderr: process.stderr };
}

/** What a script can rely on. Shown by `lanekeeper help`. */
export const exitCodes = {
  done: 0,
  /** The command ran and the answer is no: refused, differences found, not ready. */
  no: 1,
  /** The command was called in a wrong way. */
  usage: 2,
  /** The configuration or the environment has mistakes. */
  configuration: 3,
  /** A database, an agent or the witness could not be reached. */
  unreachable: 4,
  /** A mistake in Lanekeeper itself. */
  bug: 70,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export type Colors = Pick<ReturnType<typeof pc.createColors>, 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'>;

/** https://no-color.org and https://force-color.org; otherwise colour is for terminals. */
export function colorsFor(stream: OutputStream, env: NodeJS.ProcessEnv): Colors {
  if (env.NO_COLOR) return pc.createColors(false);
  if (env.FORCE_COLOR) return pc.createColors(env.FORCE_COLOR !== '0');
  return pc.createColors(stream.isTTY === true && env.TERM !== 'dumb');
}

export type Output = {
  readonly json: boolean;
  readonly colors: Colors;
  /** A line for a person; nothing with `--json`. */
  line(text?: string): void;
  /** The result for a script: one line of JSON; nothing without `--json`. */
  result(value: unknown): void;
  /** A remark for a person beside the result, on stderr; also with `--json`. */
  remark(text: string): void;
};

export function createOutput(
  { stdout, stderr, env }: CliContext,
  { json = false }: { readonly json?: boolean | undefined } = {},
): Output {
  return {
    json,
    colors: json ? pc.createColors(false) : colorsFor(stdout, env),
    line: (text = '') => {
      if (!json) stdout.write(`${text}\n`);
    },
    result: (value) => {
      if (json) stdout.write(`${JSON.stringify(value)}\n`);
    },
    remark: (text) => {
      stderr.write(`${text}\n`);
    },
  };
}

/** An expected end of a command that is not success: said in one sentence, with an exit code and perhaps what to do. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly exitCode: ExitCode;
  readonly hint: string | null;

  constructor(
    message: string,
    { exitCode = exitCodes.no, hint = null }: { readonly exitCode?: ExitCode; readonly hint?: string | null } = {},
  ) {
    super(message);
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

/** Ends a command whose answer has been printed and is not success: nothing more is said, only the exit code remains. */
export class SilentExit extends Error {
  override readonly name = 'SilentExit';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode = exitCodes.no) {
    super(`Exit code ${exitCode}.`);
    this.exitCode = exitCode;
  }
}

const unreachableCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'LK_AGENT_UNAVAILABLE',
  'LK_HOME_UNREACHABLE',
  'LK_CLAIM_UNAVAILABLE',
]);
const unreachableSystemCodes: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
]);

/** Prints what went wrong and what to do about it; returns the exit code. */
export function reportError(error: unknown, context: CliContext, { json }: { readonly json: boolean }): ExitCode {
  if (error instanceof SilentExit) return error.exitCode;
  const exitCode = exitCodeOf(error);
  if (json) context.stdout.write(`${JSON.stringify({ error: errorBody(error, exitCode) })}\n`);
  else context.stderr.write(`${errorText(error, exitCode, colorsFor(context.stderr, context.env))}\n`);
  return exitCode;
}

function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandFailure) return error.exitCode;
  if (error instanceof LanekeeperError) {
    if (error.code === 'LK_CONFIG') return exitCodes.configuration;
    return unreachableCodes.has(error.code) ? exitCodes.unreachable : exitCodes.no;
  }
  return unreachableSystemCodes.has(systemCode(error)) ? exitCodes.unreachable : exitCodes.bug;
}

/** `connect` to a name with several addresses fails with all of their errors inside. */
function systemCode(error: unknown): unknown {
  if (error instanceof AggregateError) return systemCode(error.errors[0]);
  return (error as { code?: unknown } | null)?.code;
}

function errorBody(error: unknown, exitCode: ExitCode): Record<string, unknown> {
  const message = messageOf(error);
  if (error instanceof ConfigurationError) {
    return {
      code: error.code,
      message: `${count(error.diagnostics, 'error')} in the configuration`,
      exitCode,
      diagnostics: error.diagnostics,
    };
  }
  if (error instanceof LanekeeperError) return { code: error.code, message, exitCode, ...error.details };
  const hint = error instanceof CommandFailure && error.hint !== null ? { hint: error.hint } : {};
  const code =
    error instanceof CommandFailure ? 'FAILED' : exitCode === exitCodes.unreachable ? String(systemCode(error)) : 'BUG';
  return { code, message, exitCode, ...hint };
}

function errorText(error: unknown, exitCode: ExitCode, colors: Colors): string {
  if (error instanceof ConfigurationError) return renderForPeople(error.diagnostics, colors);
  const lines = [`${colors.red('error:')} ${messageOf(error)}`];
  if (error instanceof CommandFailure && error.hint !== null) lines.push(`  ${error.hint}`);
  if (exitCode === exitCodes.bug) {
    if (error instanceof Error && error.stack !== undefined) lines.push(colors.dim(error.stack));
    lines.push('This is a mistake in Lanekeeper. Please report it with the lines above.');
  }
  return lines.join('\n');
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}

/** Diagnostics with carets, coloured, and a last line that counts them. */
export function renderForPeople(diagnostics: readonly Diagnostic[], colors: Colors): string {
  const paint = { strong: colors.bold, error: colors.red, warning: colors.yellow, quiet: colors.dim };
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  const warnings = diagnostics.filter(({ severity }) => severity === 'warning');
  const counts = [
    ...(errors.length > 0 ? [count(errors, 'error')] : []),
    ...(warnings.length > 0 ? [count(warnings, 'warning')] : []),
  ];
  return `${renderDiagnostics(diagnostics, paint)}\n\n${counts.join(', ')}`;
}

function count(diagnostics: readonly Diagnostic[], severity: Diagnostic['severity']): string {
  const found = diagnostics.filter((diagnostic) => diagnostic.severity === severity).length;
  return `${found} ${severity}${found === 1 ? '' : 's'}`;
}
