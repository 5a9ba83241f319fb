/**
 * From a mistake to what a person reads:
 *
 *     lanekeeper.yaml:12:5: error: `renewEvry` is not known in `leases`
 *        12 |     renewEvry: 2s
 *           |     ^^^^^^^^^
 *           Did you mean `renewEvery`?
 */
import { LanekeeperError } from '../model/index.ts';
import { formatPath, type Problem } from './problem.ts';
import type { Range, Source } from './source.ts';

export type Diagnostic = {
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** The path in the configuration, `dataCenters.ny.url`; empty for the whole file. */
  readonly path: string;
  /** From 1; 0 when there is no text to point into (a configuration made by code). */
  readonly line: number;
  /** From 1, in UTF-16 units as editors count; 0 like `line`. */
  readonly column: number;
  /** How many units the carets cover, within the line; at least 1. */
  readonly length: number;
  /** The line itself, passwords masked; empty when there is none. */
  readonly source: string;
  readonly message: string;
  readonly hint: string | null;
};

export type SourcelessFile = { readonly file: string };

export function diagnose(problem: Problem, source: Source | SourcelessFile): Diagnostic {
  const path = formatPath(problem.path).replaceAll(controls, '�');
  const { severity, hint } = problem;
  const message = problem.message.replaceAll(controls, '�');
  if (!('locate' in source)) {
    return { severity, file: source.file, path, line: 0, column: 0, length: 1, source: '', message, hint };
  }
  let range = source.locate(problem.path, problem.at) ?? { start: 0, end: 0 };
  if (problem.within !== undefined) {
    const found = source.text.slice(range.start, range.end).indexOf(problem.within);
    if (found >= 0) range = { start: range.start + found, end: range.start + found + problem.within.length };
  }
  return { ...diagnoseRange(source, range, severity, message, hint), path };
}

export function diagnoseRange(
  source: Pick<Source, 'file' | 'text'>,
  range: Range,
  severity: Diagnostic['severity'],
  message: string,
  hint: string | null,
): Diagnostic {
  const { text } = source;
  const offset = Math.max(0, Math.min(range.start, text.length));
  const lineStart = offset === 0 ? 0 : text.lastIndexOf('\n', offset - 1) + 1;
  const newline = text.indexOf('\n', offset);
  const lineEnd = newline < 0 ? text.length : newline;
  const line = text.slice(0, lineStart).split('\n').length;
  const length = Math.max(1, Math.min(range.end, lineEnd) - offset);
  const shown = presentable(text.slice(lineStart, lineEnd).replace(/\r$/, ''));
  return {
    severity,
    file: source.file,
    path: '',
    line,
    column: offset - lineStart + 1,
    length,
    source: shown,
    message,
    hint,
  };
}

/**
 * A password in a file is a mistake already; it need not be in the log as well. Nor may what stands in a file steer the
 * terminal. Same length, so that carets still fit.
 */
function presentable(line: string): string {
  return line
    .replaceAll(/(:\/\/[^\s/:@]*:)([^\s/@]+)(?=@)/g, mask)
    .replaceAll(/([?&]password=)([^\s&"'`,}\]]+)/gi, mask)
    .replaceAll(controls, '�');
}

function mask(_: string, before: string, secret: string): string {
  return before + '*'.repeat(secret.length);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that terminals act on.
const controls = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028\u2029]/g;

export type Paint = {
  readonly strong: (text: string) => string;
  readonly error: (text: string) => string;
  readonly warning: (text: string) => string;
  readonly quiet: (text: string) => string;
};

const plain: Paint = { strong: String, error: String, warning: String, quiet: String };

/** Lines wider than this are cut to the part around the carets. */
const maxWidth = 140;

export function renderDiagnostic(diagnostic: Diagnostic, paint: Paint = plain): string {
  const { file, line, column, severity, message, hint, path } = diagnostic;
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const colour = severity === 'error' ? paint.error : paint.warning;
  const about = line === 0 && path !== '' && !message.includes(path) ? ` (${path})` : '';
  const lines = [`${paint.strong(`${place}:`)} ${colour(`${severity}:`)} ${paint.strong(message)}${about}`];
  const margin = line === 0 ? '  ' : ' '.repeat(Math.max(5, String(line).length + 1));
  if (line !== 0) {
    const { text, caretStart } = window(diagnostic.source, column - 1);
    const caretLength = Math.max(1, Math.min(diagnostic.length, text.length - caretStart));
    // Tabs stay tabs, so that the carets stand under the place however wide the terminal shows them.
    const indent = text.slice(0, caretStart).replaceAll(/[^\t]/g, ' ').padEnd(caretStart);
    lines.push(`${paint.quiet(`${String(line).padStart(margin.length)} |`)} ${text}`);
    lines.push(`${paint.quiet(`${margin} |`)} ${indent}${colour('^'.repeat(caretLength))}`);
  }
  if (hint !== null) lines.push(`${margin}   ${hint}`);
  return lines.join('\n');
}

function window(text: string, caretStart: number): { text: string; caretStart: number } {
  if (text.length <= maxWidth) return { text, caretStart };
  const from = Math.max(0, Math.min(caretStart - 40, text.length - maxWidth));
  const cut = text.slice(from, from + maxWidth);
  return {
    text: `${from > 0 ? '…' : ''}${cut}${from + maxWidth < text.length ? '…' : ''}`,
    caretStart: caretStart - from + (from > 0 ? 1 : 0),
  };
}

export function renderDiagnostics(diagnostics: readonly Diagnostic[], paint: Paint = plain): string {
  return diagnostics.map((diagnostic) => renderDiagnostic(diagnostic, paint)).join('\n\n');
}

/** Code `LK_CONFIG`; the message is all diagnostics rendered without colour. */
export class ConfigurationError extends LanekeeperError {
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    super('LK_CONFIG', renderDiagnostics(diagnostics));
    this.diagnostics = diagnostics;
  }
}
