/** The study that the page shows, and what people noted of it. */

import { quoted, type Value } from './format';
import { ask, file, get } from './source';
import type { Draft, FeaturePage, FeatureTable, NotesFile, Overview, Prompts, Reading, TextFacts } from './types';

/** The features as columns; row i is feature i. */
export class Features {
  readonly rows: number[];
  private readonly place: Map<string, number>;
  private hay: string[] | null = null;

  constructor(readonly table: FeatureTable, emotions: string[]) {
    this.rows = Array.from({ length: table.n }, (_, i) => i);
    this.place = new Map(emotions.map((emotion, i) => [emotion, i]));
  }
  has(name: string): boolean {
    return this.table.data[name]?.some((v) => v !== null) ?? false;
  }
  value(name: string, row: number): Value {
    return this.table.data[name]?.[row] ?? null;
  }
  number(name: string, row: number): number | null {
    const value = this.value(name, row);
    return typeof value === 'number' ? value : null;
  }
  text(name: string, row: number): string | null {
    const value = this.value(name, row);
    return value === null || value === undefined ? null : String(value);
  }
  emotion(row: number): number {
    return this.place.get(String(this.value('emotion', row))) ?? -1;
  }
  is(name: string, row: number): boolean {
    return this.value(name, row) === true;
  }
  dead = (row: number): boolean => this.number('density', row) === 0;
  dense = (row: number): boolean => (this.number('density', row) ?? 0) > 0.5;
  meaning(name: string): string | undefined {
    const column = this.table.columns.find((c) => c.name === name);
    return column && [column.meaning, column.unit && column.unit !== column.label ? `(${column.unit})` : ''].filter(Boolean).join(' ');
  }
  /** What free text is looked for in, in small letters. */
  get searched(): string[] {
    this.hay ??= this.rows.map((row) => ['name', 'words', 'concept', 'emotion'].map((c) => this.text(c, row) ?? '').join(' ').toLowerCase() + ` f${row} `);
    return this.hay;
  }
}

const AUTHOR = 'moodlens-author';

function kept(key: string): string | null {
  try { return localStorage.getItem(key); } catch { return null; }
}
function keep(key: string, text: string): boolean {
  try { localStorage.setItem(key, text); return true; } catch { return false; }
}

/** What tells one reading from another. */
const same = (r: Reading): string => JSON.stringify([r.feature, r.sae, r.name, r.note, r.author, r.time]);

class Study {
  overview = $state.raw<Overview | null>(null);
  features = $state.raw<Features | null>(null);
  readings = $state.raw<Reading[]>([]);
  fromFile = $state(false);
  trouble = $state('');
  author = $state(kept(AUTHOR) ?? '');
  newest = $derived(new Map(this.readings.map((reading) => [reading.feature, reading])));
  private details = new Map<number, FeaturePage>();
  private allPrompts: Prompts | null = null;

  async open(): Promise<void> {
    try {
      this.fromFile = (await file) !== null;
      const [overview, features] = await Promise.all([
        get<Overview>('overview', (f) => f.overview), get<FeatureTable>('features', (f) => f.features),
      ]);
      this.allPrompts = (await file)?.prompts ?? null;
      this.features = new Features(features!, overview!.study.emotions);
      this.overview = overview;
      // What the first letter of a search would wait for.
      (globalThis.requestIdleCallback ?? setTimeout)(() => this.features?.searched);
      const notes = await get<NotesFile>('notes', (f) => f.notes);
      // What was noted while the notes were on their way stays.
      const come = [...(notes?.readings ?? []), ...(this.fromFile ? this.here() : [])];
      const known = new Set(come.map(same));
      this.readings = [...come, ...this.readings.filter((r) => !known.has(same(r)))];
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }
  get emotions(): string[] { return this.overview?.study.emotions ?? []; }
  place(emotion: string | null | undefined): number { return emotion ? this.emotions.indexOf(emotion) : -1; }
  get serve(): string { return `moodlens explore ${quoted(this.overview?.study.folder ?? 'DIR')}`; }

  /** What a person calls it, else what the program does. */
  name(feature: number): string | null {
    return this.newest.get(feature)?.name || (this.features?.text('name', feature) ?? null);
  }
  async feature(id: number): Promise<FeaturePage | null> {
    let page = this.details.get(id) ?? null;
    if (!page) {
      page = await get<FeaturePage>(`feature/${id}`, (f) => f.details[String(id)]);
      if (page) this.details.set(id, page);
    }
    return page;
  }
  /** A text of the study, from the answer that names its row or from the file's prompts. */
  facts(row: number, texts: Record<string, TextFacts> = {}): TextFacts | null {
    const given = texts[String(row)];
    if (given) return given;
    const p = this.allPrompts;
    return p && row < p.text.length ? { text: p.text[row], emotion: p.emotion[row], concept: p.concept[row], kind: p.kind[row], split: p.split[row] } : null;
  }
  async prompts(): Promise<Prompts | null> {
    return (this.allPrompts ??= await get<Prompts>('prompts', (f) => f.prompts));
  }

  private get shelf(): string { return `moodlens-notes:${this.overview?.study.sae ?? ''}`; }
  private here(): Reading[] {
    try { return JSON.parse(kept(this.shelf) ?? '[]') as Reading[]; } catch { return []; }
  }
  async note(draft: Draft): Promise<void> {
    keep(AUTHOR, draft.author);
    this.author = draft.author;
    if (!this.fromFile) {
      const reading = await ask<Reading>('notes', draft);
      this.readings = [...this.readings, reading];
      return;
    }
    const reading: Reading = { ...draft, sae: this.overview!.study.sae, time: `${new Date().toISOString().slice(0, 19)}+00:00`, blind: null };
    if (!keep(this.shelf, JSON.stringify([...this.here(), reading]))) throw new Error('This browser keeps nothing for this page: nothing was saved.');
    this.readings = [...this.readings, reading];
  }
  add(reading: Reading): void { this.readings = [...this.readings, reading]; }
  get notesFile(): NotesFile {
    return { format: 'moodlens-notes', version: 1, sae: this.overview!.study.sae, readings: this.readings };
  }
  /** Readings of a file that was downloaded from a page like this; says how many were new. */
  async import(text: string): Promise<string> {
    let given: NotesFile;
    try { given = JSON.parse(text) as NotesFile; } catch { throw new Error('This is not JSON, so not a file of notes.'); }
    if (given?.format !== 'moodlens-notes' || !Array.isArray(given.readings)) throw new Error('This is not a file of notes: it does not say "moodlens-notes".');
    if (!this.fromFile) {
      const { added, known } = await ask<{ added: number; known: number }>('notes/import', given);
      this.readings = (await ask<NotesFile>('notes')).readings;
      return `${added} added, ${known} known already.`;
    }
    const known = new Set(this.readings.map(same));
    const good = given.readings.filter((r) => Number.isInteger(r.feature) && r.sae === this.overview!.study.sae && typeof r.name === 'string' && typeof r.note === 'string');
    const fresh = good.filter((r) => !known.has(same(r)));
    keep(this.shelf, JSON.stringify([...this.here(), ...fresh]));
    this.readings = [...this.readings, ...fresh].sort((a, b) => a.time.localeCompare(b.time));
    const foreign = given.readings.length - good.length;
    return `${fresh.length} added, ${good.length - fresh.length} known already${foreign ? `, ${foreign} of another SAE left out` : ''}.`;
  }
}

export const study = new Study();
