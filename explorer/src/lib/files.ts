/** Files that the page hands to its reader: tables as CSV, figures as SVG, notes as JSON. */

import type { Value } from './format';

export function save(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function cell(value: Value): string {
  if (value === null || value === undefined || (typeof value === 'number' && !Number.isFinite(value))) return '';
  if (typeof value !== 'string') return String(value);
  // A spreadsheet runs a text that begins like a formula: the apostrophe makes it a text again.
  const safe = /^[=+@\t\r]|^-(?![\d.])/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csv(head: string[], rows: Iterable<Value[]>): string {
  const lines = [head.map(cell).join(',')];
  for (const row of rows) lines.push(row.map(cell).join(','));
  return `${lines.join('\r\n')}\r\n`;
}

export const saveCsv = (name: string, head: string[], rows: Iterable<Value[]>): void =>
  save(`${fileName(name)}.csv`, csv(head, rows), 'text/csv;charset=utf-8');

export const fileName = (name: string): string => name.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|-+$/g, '').slice(0, 80) || 'moodlens';

const STYLES = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'opacity', 'fill-opacity', 'font-family', 'font-size', 'font-weight', 'text-anchor', 'dominant-baseline'];

/** The figure as it is on the page, on light paper, with every style written out. */
export function saveSvg(name: string, figure: SVGSVGElement): void {
  const root = document.documentElement;
  const before = root.style.colorScheme;
  root.style.colorScheme = 'light';
  const copy = figure.cloneNode(true) as SVGSVGElement;
  const [from, to] = [figure, copy].map((node) => [node, ...node.querySelectorAll('*')]);
  from.forEach((element, i) => {
    const computed = getComputedStyle(element);
    to[i].removeAttribute('class');
    to[i].setAttribute('style', STYLES.map((style) => `${style}:${computed.getPropertyValue(style)}`).join(';'));
  });
  root.style.colorScheme = before;
  copy.querySelectorAll('[data-only-here]').forEach((node) => node.remove());
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  const paper = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  for (const [key, value] of [['width', '100%'], ['height', '100%'], ['fill', '#fff']]) paper.setAttribute(key, value);
  copy.prepend(paper);
  save(`${fileName(name)}.svg`, new XMLSerializer().serializeToString(copy), 'image/svg+xml');
}
