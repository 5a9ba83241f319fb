/** What the `lanekeeper` command hands to the lab's commands: they must not know its rooms. */
export type LabContext = {
  readonly env: NodeJS.ProcessEnv;
  /** The working directory. */
  readonly directory: string;
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly colors: {
    bold(text: string): string;
    dim(text: string): string;
    cyan(text: string): string;
    green(text: string): string;
    red(text: string): string;
  };
  /** Ends the command with a sentence and an exit code: 1 the answer is no, 2 wrong usage, 4 unreachable. */
  fail(message: string, options?: { readonly exitCode?: 1 | 2 | 4; readonly hint?: string | null }): never;
};
