/** What customers got, over time: as SVG for pages, as one line of blocks for terminals. Pure. */
import type { Bucket, DrillReport } from './result.ts';

const blocks = ' ▁▂▃▄▅▆▇█';

/** One character for each bucket: what was done, against the best of them. */
export function sparkline(buckets: readonly Bucket[]): string {
  const most = Math.max(1, ...buckets.map(({ done }) => done));
  return buckets
    .map(({ done }) => blocks[done === 0 ? 0 : Math.max(1, Math.round((done / most) * (blocks.length - 1)))] ?? ' ')
    .join('');
}

/** Below it: where the fault was (`▲` from fault to healing). */
export function faultLine(report: Pick<DrillReport, 'buckets' | 'bucketMs' | 'rounds'>): string {
  return report.buckets
    .map(({ fromMs }) =>
      report.rounds.some(({ faultMs, healMs }) => fromMs + report.bucketMs > faultMs && fromMs <= healMs) ? '▲' : ' ',
    )
    .join('')
    .trimEnd();
}

const width = 760;
const height = 220;
const margin = { left: 44, right: 12, top: 14, bottom: 34 };
const colors = { done: '#2f7d6d', refused: '#d99a2b', unknown: '#b3404a', fault: '#e9e3f2', ink: '#3b3a40' };

/** Stacked columns: done, refused, unknown; the fault as a shaded band. */
export function renderSvg(report: Pick<DrillReport, 'name' | 'buckets' | 'bucketMs' | 'rounds'>): string {
  const { buckets, bucketMs, rounds } = report;
  const endMs = Math.max(bucketMs, buckets.length * bucketMs);
  const most = Math.max(1, ...buckets.map(({ done, refused, unknown }) => done + refused + unknown));
  const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  const x = (ms: number): number => margin.left + (Math.min(ms, endMs) / endMs) * inner.width;
  const y = (count: number): number => margin.top + inner.height - (count / most) * inner.height;
  const parts: string[] = [];
  for (const { faultMs, healMs } of rounds) {
    parts.push(
      `<rect x="${round(x(faultMs))}" y="${margin.top}" width="${round(Math.max(1, x(healMs) - x(faultMs)))}" height="${inner.height}" fill="${colors.fault}"/>`,
    );
  }
  for (const { fromMs, done, refused, unknown } of buckets) {
    let base = 0;
    for (const [count, color] of [
      [done, colors.done],
      [refused, colors.refused],
      [unknown, colors.unknown],
    ] as const) {
      if (count === 0) continue;
      const top = y(base + count);
      parts.push(
        `<rect x="${round(x(fromMs))}" y="${round(top)}" width="${round(Math.max(1, (bucketMs / endMs) * inner.width - 0.5))}" height="${round(y(base) - top)}" fill="${color}"/>`,
      );
      base += count;
    }
  }
  const bottom = margin.top + inner.height;
  const text = (at: number, below: number, words: string, anchor = 'middle'): string =>
    `<text x="${round(at)}" y="${round(below)}" font-size="11" fill="${colors.ink}" text-anchor="${anchor}">${escaped(words)}</text>`;
  parts.push(
    `<line x1="${margin.left}" y1="${bottom}" x2="${width - margin.right}" y2="${bottom}" stroke="${colors.ink}"/>`,
  );
  parts.push(text(margin.left - 6, y(most) + 4, String(most), 'end'), text(margin.left - 6, bottom + 4, '0', 'end'));
  const stepMs = niceStep(endMs);
  for (let ms = 0; ms <= endMs; ms += stepMs) parts.push(text(x(ms), bottom + 15, `${ms / 1000} s`));
  const legend = [
    ['done', colors.done],
    ['refused', colors.refused],
    ['unknown', colors.unknown],
    ['fault', colors.fault],
  ] as const;
  legend.forEach(([word, color], index) => {
    const at = margin.left + index * 92;
    parts.push(
      `<rect x="${at}" y="${height - 13}" width="10" height="10" fill="${color}"/>`,
      text(at + 15, height - 4, word, 'start'),
    );
  });
  const title = `Attempts of customers every ${bucketMs} ms during ${report.name}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" font-family="sans-serif"><title>${escaped(title)}</title><rect width="${width}" height="${height}" fill="#ffffff"/>${parts.join('')}</svg>\n`;
}

function niceStep(endMs: number): number {
  return [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000].find((step) => endMs / step <= 12) ?? 600_000;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
