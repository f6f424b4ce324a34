import { readFileSync, renameSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { viteSingleFile } from 'vite-plugin-singlefile';

const ROOM = resolve(import.meta.dirname, '../src/moodlens/explore');
const WITHIN = ['svelte', 'd3-scale', 'd3-array', 'd3-interpolate', 'd3-color', 'd3-format', 'd3-time', 'd3-time-format', 'internmap'];

/** The licences of what is inlined, in the page itself, as they ask for. */
function licences() {
  const texts = () =>
    WITHIN.map((name) => {
      const folder = join(import.meta.dirname, 'node_modules', name);
      const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      const file = ['LICENSE', 'LICENSE.md'].map((f) => join(folder, f)).find((f) => { try { readFileSync(f); return true; } catch { return false; } });
      return `${name} ${version}\n${readFileSync(file, 'utf8').trim()}`;
    });
  return {
    name: 'licences',
    enforce: 'post',
    transformIndexHtml: { order: 'post', handler: (html) => html.replace('</html>', `<!--\n${texts().join('\n\n').replaceAll('--', '- -')}\n-->\n</html>`) },
  };
}

/** The built page lies in the package under the name that the server and the export know. */
function named() {
  let root;
  return {
    name: 'named',
    apply: 'build',
    configResolved: (config) => { root = config.build.outDir; },
    closeBundle: () => renameSync(join(root, 'index.html'), join(root, 'page.html')),
  };
}

export default defineConfig({
  plugins: [svelte(), viteSingleFile({ removeViteModuleLoader: true }), licences(), named()],
  build: {
    target: 'es2022',
    outDir: process.env.MOODLENS_PAGE_DIR ?? ROOM,
    emptyOutDir: false,
    reportCompressedSize: false,
  },
});
