/** What a page of documentation refers to. */

/** Targets of `[text](target)` outside code. */
export function linksOf(markdown: string): string[] {
  return [...withoutCode(markdown).matchAll(/\]\(([^()\s]+)\)/g)].map((match) => match[1] as string);
}

/** Anchors of the headings, as GitHub makes them. */
export function headingsOf(markdown: string): string[] {
  return [...markdown.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+\s+(.+)$/gm)].map((match) =>
    (match[1] as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

const folders = /^(packages|examples|docs|test|bench|\.ci)\//;
const endings = /\.(ts|sql|md|test\.ts)$/;

/** Paths named in inline code: below a folder of ours, or with the ending of a source file. `*` and `<x>` are patterns, not paths. */
export function pathsOf(markdown: string): string[] {
  const prose = markdown.replace(/^```[\s\S]*?^```/gm, '');
  return [...prose.matchAll(/`([^`\n]+)`/g)]
    .map((match) => (match[1] as string).replace(/:\d+$/, ''))
    .filter((text) => /^[\w@./-]+$/.test(text))
    .filter((text) => folders.test(text) || (endings.test(text) && !/^\.\w+$/.test(text)));
}

export type CodeBlock = { readonly language: string; readonly text: string; readonly line: number };

/** Fenced blocks: language (`yaml`, `sh` …), text, and the line in the page at which the text starts. */
export function codeBlocksOf(markdown: string): CodeBlock[] {
  return [...markdown.matchAll(/^```([\w-]*)[^\n]*\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[1] as string,
    text: match[2] as string,
    line: markdown.slice(0, match.index).split('\n').length + 1,
  }));
}

function withoutCode(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
}
