/** The address: all that a reader chose is in the hash, `#feature/13?key=value`, so that each view can be sent and gone back to. */

export type Choice = string | number | null | undefined | false;
export type Choices = Record<string, Choice>;

export interface Route {
  page: string;
  id: string;
  params: Record<string, string>;
}

function read(): Route {
  const [path, query = ''] = location.hash.replace(/^#/, '').split(/\?(.*)/s);
  const [page, id = ''] = path.split('/');
  return { page: page || 'overview', id, params: Object.fromEntries(new URLSearchParams(query)) };
}

class Address {
  now = $state.raw(read());

  constructor() {
    addEventListener('hashchange', () => { this.now = read(); });
  }
  get params() { return this.now.params; }
}

export const route = new Address();

/** The hash of a view; empty choices are left out. */
export function hash(page: string, choices: Choices = {}): string {
  const kept = Object.entries(choices).filter(([, v]) => v !== '' && v !== null && v !== undefined && v !== false);
  const query = kept.map(([k, v]) => `${k}=${encodeURIComponent(String(v)).replaceAll('%2C', ',').replaceAll('%3A', ':')}`).join('&');
  return `#${page}${query ? `?${query}` : ''}`;
}

export const featureHash = (feature: number): string => `#feature/${feature}`;

/** Change some choices of this view, without a step in the history: typing would leave one a letter. */
export function choose(changes: Choices): void {
  const { page, id, params } = route.now;
  history.replaceState(history.state, '', hash(id ? `${page}/${id}` : page, { ...params, ...changes }));
  route.now = read();
}
