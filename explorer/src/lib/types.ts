/** What the server answers and an exported file holds; `moodlens/explore/records.py` says the same. */

export type Interval = readonly [number, number] | null;
export type Maybe = number | null;

export interface Control { name: string; value: Maybe }
export interface Criterion {
  id: string; label: string; must: boolean; unit: string; stage: string; threshold: string; state: string;
  value: Maybe; ci: Interval; controls: Control[]; passed: boolean; uninformative: boolean; note: string; advice: string;
}
export interface Verdict {
  go: boolean; left_out: string[]; sae: string; criteria: Criterion[];
  roadmap: { label: string; threshold: string; value: Maybe; met: boolean | null; fooled_by: string[] }[];
  next_steps: string[];
}
export interface Heat {
  cells: { emotion: string; concept: string | null; n: number; groups: number }[];
  features: number[]; rate: number[][]; note: string;
}
export interface Rows { columns: string[]; rows: (number | string | boolean | null)[][] }
export interface Estimate { value: Maybe; ci?: Interval }
export interface Overview {
  version: number; exported: boolean;
  study: {
    name: string; folder: string; sae: string; encoder: string; d_in: number; d_sae: number; core_size: number; seed: number; control: string;
    emotions: string[]; concepts: Record<string, string[]>; n_prompts: number; splits: Record<string, number>; moodlens: string; made: string | null;
  };
  can: Record<'text' | 'steer' | 'notes' | 'blind' | 'compare' | 'generate', boolean>;
  verdict: Verdict | null;
  counts: {
    features: number; core: number; claimed: number; concept_features: Maybe; dead: Maybe; dense: Maybe; per_emotion: Record<string, number>;
    shuffled_p95: Maybe; untrained: Record<string, Maybe> | null;
  };
  heat: Heat | null;
  curves: { training: Rows | null; sweep: Rows | null };
  circumplex: null | {
    source: string; x: string; y: string; places: { emotion: string; concept: string | null; x: Maybe; y: Maybe }[]; note: string;
    readings?: { reading: string; scale: string; spearman: Maybe; ci: Interval; control: Maybe }[];
  };
  map: null | {
    texts: null | { row: number[]; x: number[]; y: number[] }; features: { feature: number[]; x: number[]; y: number[] };
    text_variance: Maybe[]; feature_variance: Maybe[]; note: string;
  };
  families: { emotion: string; features: number[]; weights: number[]; held_out: Estimate | null; held_out_control: Maybe }[];
  transfer: null | { name: string; n: number; auroc: Record<string, Record<string, Estimate | number | null>> }[];
  steer: null | { unit: number; unit_note: string; max_coefficient: number; no_music: string | null };
  generator: GeneratorFacts | null;
  limits: { text: number };
  missing: Record<string, string>;
  left_out: string[];
}

export interface FeatureTable {
  n: number; density_n: Maybe;
  columns: { name: string; label: string; unit: string; meaning: string; kind: 'number' | 'text' | 'bool' | 'int' }[];
  data: Record<string, (number | string | boolean | null)[]>;
}

export interface Shown { row: number; activation: number; rise: Maybe; words: [number, number, number][] | null }
export interface Decile extends Shown { decile: number; low: number; high: number; n_active: number }
export interface Dose { readout: string; dose: number; effect: number; ci: Interval; control_mean?: Maybe; control_edge?: Maybe; p?: Maybe; q?: Maybe }
export interface Clip {
  run: string; key: string; audio: string | null; prompt: string | null; method: string; direction: string | null; emotion: string | null;
  coefficient: Maybe; seed: Maybe; seconds: Maybe; features: number[]; reference: string | null;
}
export interface TextFacts { text: string | null; emotion: string | null; concept: string | null; kind: string; split: string }
export interface FeaturePage {
  feature: number;
  emotions: { emotion: string | null; n: number; firing: number; rate: Maybe; mean: Maybe; auroc: Maybe }[];
  concepts: { emotion: string; concept: string; n: number; firing: number; rate: Maybe }[];
  n_rows: number; n_active: number; n_emotion: Maybe; n_missed: Maybe;
  histogram: { edges: number[]; counts: Record<string, number[]>; silent: number } | null;
  top: Shown[]; deciles: Decile[] | null; misses: Shown[] | null; low: Shown[] | null;
  words: { word: string; share: number; share_where: number; n_texts: number; n_shown: number }[] | null;
  neighbours: { feature: number; cosine: number }[] | null;
  together: { feature: number; correlation: number }[] | null;
  twins: { pipeline: string; kind: string; feature: Maybe; cosine: number }[] | null;
  causal: null | {
    rule: string; readouts: string; doses: Dose[]; clamp: Dose[]; random_feature: Dose[]; random_direction: Dose[]; difference_in_means: Dose[]; unit: string;
  };
  name_evidence: Record<string, unknown> | null;
  clips: Clip[] | null;
  texts: Record<string, TextFacts>;
}

export interface Prompts { text: (string | null)[]; emotion: (string | null)[]; concept: (string | null)[]; kind: string[]; split: string[] }

export interface ActiveFeature {
  feature: number; activation: number; typical: Maybe; emotion: string | null; concept: string | null; claimed: boolean; name: string | null;
  sentence: number; rise: Maybe; added: number[] | null; rest: Maybe;
}
export interface TextReading {
  text: string; seconds: number;
  sentences: { begin: number; end: number; families: Record<string, Maybe> }[];
  families: Record<string, Maybe>;
  family_words: Record<string, [string, number][]> | null;
  words: { begin: number; end: number; sentence: number }[] | null;
  active: ActiveFeature[];
  n_active: Record<string, number>;
  emotions: { emotion: string; score: Maybe; members: { feature: number; weight: number; activation: number; share: number }[] }[];
  concepts: { emotion: string; concept: string; strength: number; features: number[] }[];
  asked: ActiveFeature | null;
}

export type Part =
  | { kind: 'feature'; feature: number; weight: number }
  | { kind: 'family'; emotion: string; weight: number }
  | { kind: 'difference_in_means'; emotion: string; weight: number };
export interface Readout {
  readout: string; unit: string; effect: number; ci: Interval; random: Interval; matched: Interval; difference_in_means: Maybe;
  curve: number[]; random_low: number[]; random_high: number[];
}
export interface SteerAnswer {
  coefficient: number; unit: number; amount: number; grid: number[]; emotions: { emotion: string; readouts: Readout[] }[];
  n_rows: number; n_groups: number; note: string;
}

export interface GeneratorFacts {
  model: string; device: string; dtype: string; shortest: number; longest: number; guidance: number; prompt: number; waiting: number; kept: number; prompts: string[];
}
export type GenerateQuestion = { parts: Part[]; coefficient: number; prompt: string; seed: number; seconds: number; guidance: number | null };
export interface MadeClip {
  which: 'original' | 'steered' | 'random'; audio: string; settings: string; direction: string | null; coefficient: number; peak: Maybe; lufs: Maybe;
}
export interface ClipSet {
  id: number; state: 'waiting' | 'working' | 'done' | 'cancelled' | 'failed'; ahead: number; share: number; seconds_spent: number;
  seconds_left: Maybe; error: string | null; direction: string; question: GenerateQuestion; clips: MadeClip[];
}
export interface ClipSets { sets: ClipSet[] }

export interface Blind { score: Maybe; score_all: Maybe; control: Maybe; program_score: Maybe; n: Maybe }
export interface Reading {
  feature: number; sae: string; name: string; clarity: 'clear' | 'unclear'; note: string; author: string; time: string; blind: Blind | null;
}
export interface NotesFile { format: 'moodlens-notes'; version: 1; sae: string; readings: Reading[] }
export type Draft = Pick<Reading, 'feature' | 'name' | 'clarity' | 'note' | 'author'>;

export interface BlindTrial {
  feature: number; emotion: string; fires: { row: number; activation: number; text: string }[]; silent: { row: number; text: string }[];
  n_left: number; concepts: string[]; note: string;
}
export interface BlindResult {
  reading: Reading; score: Maybe; score_all: Maybe; control: Maybe; n: number; n_emotion: number; known: string[]; unknown: string[];
  program: { name: string | null; score: Maybe; score_all: Maybe }; note: string;
}

type Side = Pick<Criterion, 'state' | 'value' | 'ci' | 'controls'>;
export interface StudyFacts { name: string; folder: string; go: boolean | null; encoder: string; core_size: number; claimed: number }
export interface Comparison {
  a: StudyFacts; b: StudyFacts;
  criteria: { id: string; label: string; must: boolean; unit: string; threshold: string; a: Side | null; b: Side | null; differs: boolean }[];
  matches: null | {
    a: number; b: number; cosine: number; emotion_a: string | null; emotion_b: string | null; name_a: string | null; name_b: string | null;
    claimed_a: boolean; claimed_b: boolean;
  }[];
  bar: Maybe; null_p95: Maybe; n_matched: Maybe; n_claimed_matched: { a: number; of_a: number; b: number; of_b: number } | null; note: string;
}

export interface ClipRuns { runs: { run: string; model: string; statements: string[]; clips: Clip[] }[] }

export interface ExportFile {
  format: 'moodlens-explorer'; version: number; overview: Overview; features: FeatureTable; details: Record<string, FeaturePage>;
  prompts: Prompts | null; notes: NotesFile | null; compare: Comparison | null; clips: ClipRuns | null;
}
