/** Go or no-go, and why, in one sentence: that of the report. */

import type { Verdict } from './types';

export function sentence(verdict: Verdict): string {
  const must = verdict.criteria.filter((c) => c.must && c.state !== 'not asked');
  const left = verdict.left_out.length ? ` Left out, because this study cannot be asked: ${verdict.left_out.join('; ')}.` : '';
  if (verdict.go) return `all ${must.length} must-criteria that were asked pass, each beyond all its controls.${left}`;
  const states = [...new Set(must.filter((c) => !c.passed).map((c) => c.state))];
  const why = states.map((state) => `${must.filter((c) => c.state === state && !c.passed).map((c) => c.label.toLowerCase()).join(', ')} ${state}`).join('; ');
  return `${must.filter((c) => c.passed).length} of ${must.length} must-criteria pass; ${why}.${left}`;
}

/** Whether it is good news: a go of a control study is not. */
export const tone = (verdict: Verdict, control: string): string => (verdict.go === (control === 'none') ? 'good' : 'bad');
