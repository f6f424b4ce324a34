/** How numbers are written: as many digits as they are worth, and a dash where there is none. */

export const NONE = '–';
export type Value = number | string | boolean | null | undefined;

const grouped = (value: number, digits = 0): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
const minus = (text: string): string => text.replace('-', '−');
const absent = (value: unknown): value is null | undefined =>
  value === null || value === undefined || (typeof value === 'number' && Number.isNaN(value));

/** `0.8312` as `0.831`, `1234` as `1,234`, tiny ones in powers of ten. */
export function number(value: Value, digits = 3): string {
  if (absent(value)) return NONE;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'string') return value;
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return minus(grouped(value));
  if (size >= 100) return minus(grouped(value));
  if (size < 10 ** (1 - digits)) return minus(size >= 1e-4 ? String(Number(value.toPrecision(2))) : value.toExponential(1));
  return minus(value.toFixed(size < 10 ? digits : 1));
}

export const signed = (value: number | null | undefined, digits = 2): string =>
  absent(value) ? NONE : `${value > 0 ? '+' : ''}${minus(value.toFixed(digits))}`;

export const count = (value: number | null | undefined): string => (absent(value) ? NONE : grouped(value));

/** A p or q value: `< 0.0001` rather than a false zero. */
export const pValue = (p: number | null | undefined): string =>
  absent(p) ? NONE : p < 1e-4 ? '< 0.0001' : p.toFixed(p < 0.01 ? 4 : 3);

export const percent = (share: number | null | undefined, digits = 0): string =>
  absent(share) ? NONE : `${(100 * share).toFixed(digits)}\u00a0%`;

export const times = (ratio: number | null | undefined): string => (absent(ratio) ? NONE : `${ratio.toFixed(1)}×`);

export const interval = (ci: readonly number[] | null | undefined, form: (v: number) => string = number): string =>
  ci ? `[${form(ci[0])}, ${form(ci[1])}]` : NONE;

/** A criterion's value in its own unit. */
export function inUnit(value: number | null | undefined, unit: string): string {
  if (unit === 'share') return percent(value, 1);
  if (unit === 'percentile') return absent(value) ? NONE : value.toFixed(1);
  return number(value);
}

/** Signs instead of letters in thresholds. */
export const signs = (text: string): string => text.replaceAll('>=', '≥').replaceAll('<=', '≤');

/** One line, cut with an ellipsis where it is too long for its place. */
export function cut(text: string, limit: number): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length <= limit ? line : `${line.slice(0, limit - 1).trimEnd()}…`;
}

export const plural = (n: number, one: string, many = `${one}s`): string => `${grouped(n)} ${n === 1 ? one : many}`;

/** A folder's name as a shell takes it. */
export const quoted = (name: string): string => (/^[\w./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);
