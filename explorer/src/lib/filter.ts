/** Which features a reader asks for: choices, free text, and conditions such as `auroc>0.8`. */

import { matcher } from './order';
import type { Features } from './study.svelte';

export const CONDITION = /^([a-z_]+)(<=|>=|<|>|=)(-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)$/i;

/** Short names that a reader may type for a column. */
const ALSO: Record<string, string> = { seeds: 'stability', effect: 'causal_effect', held_out: 'held_out_auroc', score: 'name_score', groups: 'n_groups' };

type Test = (row: number) => boolean;

function condition(features: Features, word: string): Test | null {
  const found = CONDITION.exec(word);
  if (!found) return null;
  const name = ALSO[found[1]] ?? found[1];
  if (!features.table.data[name]) return null;
  const limit = Number(found[3]);
  const compare: Record<string, (v: number) => boolean> = {
    '<': (v) => v < limit, '>': (v) => v > limit, '<=': (v) => v <= limit, '>=': (v) => v >= limit, '=': (v) => Math.abs(v - limit) < 1e-9,
  };
  return (row) => {
    const value = features.number(name, row);
    return value !== null && compare[found[2]](value);
  };
}

export interface Found { rows: number[]; dead: number; dense: number }

export function find(features: Features, params: Record<string, string>, person: (row: number) => string): Found {
  const tests: Test[] = [];
  const words: string[] = [];
  for (const word of (params.q ?? '').split(/\s+/).filter(Boolean)) {
    const one = /^f(\d+)$/i.exec(word);
    const test = one ? (row: number) => row === Number(one[1]) : condition(features, word);
    if (test) tests.push(test);
    else words.push(word);
  }
  const match = matcher(words.join(' '));
  if (match) {
    const texts = features.searched;
    tests.push((row) => match(texts[row]) || match(`${texts[row]} ${person(row)}`));
  }
  if (params.emotion) tests.push((row) => features.value('emotion', row) === params.emotion);
  if (params.concept) tests.push((row) => features.value('concept', row) === params.concept);
  const show = shown(features, params);
  if (show === 'claimed') tests.push((row) => features.is('claimed', row));
  if (show === 'core') tests.push((row) => features.is('core', row));
  if (show === 'rest') tests.push((row) => !features.is('core', row));
  const out: Found = { rows: [], dead: 0, dense: 0 };
  for (const row of features.rows) {
    if (!tests.every((test) => test(row))) continue;
    if (features.dead(row) && params.dead !== '1') out.dead += 1;
    else if (features.dense(row) && params.dense !== '1') out.dense += 1;
    else out.rows.push(row);
  }
  return out;
}

/** Claimed features first, if there are any. */
export const shown = (features: Features, params: Record<string, string>): string =>
  params.show ?? (features.table.data.claimed?.some(Boolean) ? 'claimed' : 'all');
