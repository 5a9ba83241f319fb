/**
 * Removes temporary folders after we are gone, however we ended: a few lines of shell that wait for the end of a pipe
 * which only we hold open. An orderly end tells them that there is nothing to do.
 */
import { spawn } from 'node:child_process';

export type Belongings = {
  /** Removed with everything in them, once no PostgreSQL runs in them any more. */
  readonly folders: readonly string[];
  /** Removed when this text is in them: by then they may be somebody else's. */
  readonly files?: readonly { readonly path: string; readonly text: string }[];
};

const script = `
trap '' INT TERM HUP QUIT
if read -r line; then exit 0; fi
running() {
  for folder; do
    for found in "$folder"/data/postmaster.pid "$folder"/*/data/postmaster.pid; do [ -e "$found" ] && return 0; done
  done
  return 1
}
folders=$1
shift
files=$1
shift
while [ "$files" -gt 0 ]; do
  if grep -qF -- "$2" "$1" 2>/dev/null; then rm -f -- "$1"; rmdir -- "$(dirname -- "$1")" 2>/dev/null; fi
  shift 2
  files=$((files - 1))
done
[ "$folders" -gt 0 ] || exit 0
tries=0
while [ $tries -lt 100 ] && running "$@"; do sleep 0.1; tries=$((tries + 1)); done
rm -rf -- "$@"
# What was written between the two looks.
sleep 1
rm -rf -- "$@"
`;

/** Returns what to call when everything has been removed in order. */
export function watchOver(belongings: Belongings): () => void {
  const files = belongings.files ?? [];
  const args = [
    String(belongings.folders.length),
    String(files.length),
    ...files.flatMap(({ path, text }) => [path, text]),
    ...belongings.folders,
  ];
  const caretaker = spawn('/bin/sh', ['-c', script, 'sh', ...args], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  caretaker.on('error', () => {});
  caretaker.stdin.on('error', () => {});
  caretaker.unref();
  // The pipe must not keep us alive either.
  (caretaker.stdin as unknown as { unref(): void }).unref();
  return () => {
    caretaker.stdin.end('done\n');
  };
}
