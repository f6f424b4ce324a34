/** Where the study comes from: a server beside the page, or the file that holds both. */

import type { ExportFile } from './types';

/** A line for people, from the server or about it. */
export class Said extends Error {}

async function within(): Promise<ExportFile | null> {
  const text = document.getElementById('moodlens-data')?.textContent?.trim();
  if (!text) return null;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).json();
}

export const file: Promise<ExportFile | null> = within();

/** An answer of the server; a refusal is its own line. */
export async function ask<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(`api/${path}`, body === undefined ? { signal } : { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Said('The server does not answer: has it been stopped?');
  }
  if (answer.ok) return answer.json();
  let line = `The server answers ${answer.status}.`;
  try { line = (await answer.json()).error ?? line; } catch { /* not JSON: the status says it */ }
  throw new Said(line);
}

/** What the exported file holds under a key, or what the server answers. */
export async function get<T>(path: string, inFile: (file: ExportFile) => T | null | undefined): Promise<T | null> {
  const held = await file;
  return held ? (inFile(held) ?? null) : ask<T>(path);
}
