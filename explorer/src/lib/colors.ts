/** One colour and one shape for each emotion, those of the report; a lighter twin of the dark ones on dark paper. */

const FIRST = ['#dfa000', '#1f4fa3', '#1fa187', '#c2452f', '#86c5ea', '#8a3f8f', '#9aa33a', '#8c6d4f'];
const ON_DARK = ['#e6ad1f', '#6f9cf0', '#2fbfa0', '#ec7762', '#9ad3f3', '#c887cf', '#b3bc57', '#bd9c7c'];
const SHAPES = 10;

/** Colour of emotion `i` on light and on dark paper. Beyond eight, golden-angle hues in three lightnesses. */
function pair(i: number): [string, string] {
  if (i < FIRST.length) return [FIRST[i], ON_DARK[i]];
  const hue = Math.round(((0.13 + i * 0.61803398875) % 1) * 360);
  const light = [38, 62, 50][i % 3];
  const full = [75, 55, 45][Math.floor(i / 3) % 3];
  return [`hsl(${hue} ${full}% ${light}%)`, `hsl(${hue} ${full}% ${Math.max(light, 58)}%)`];
}

/** What an element takes as `fill` or `background` for emotion `i`; -1 is no emotion. */
export function color(i: number): string {
  if (i < 0) return 'var(--faint)';
  const [light, dark] = pair(i);
  return `light-dark(${light}, ${dark})`;
}

/** The outline of emotion `i`'s mark around 0, 0, with about the same area for every shape. */
export function shape(i: number, r: number): string {
  const polygon = (...points: [number, number][]) => `M${points.map(([x, y]) => `${(x * r).toFixed(2)},${(y * r).toFixed(2)}`).join('L')}Z`;
  switch (i < 0 ? 0 : i % SHAPES) {
    case 1: return polygon([-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]);
    case 2: return polygon([0, -1.15], [1.1, 0.85], [-1.1, 0.85]);
    case 3: return polygon([0, -1.25], [1.1, 0], [0, 1.25], [-1.1, 0]);
    case 4: return polygon([0, 1.15], [1.1, -0.85], [-1.1, -0.85]);
    case 5: return polygon([-0.4, -1.1], [0.4, -1.1], [0.4, -0.4], [1.1, -0.4], [1.1, 0.4], [0.4, 0.4], [0.4, 1.1], [-0.4, 1.1], [-0.4, 0.4], [-1.1, 0.4], [-1.1, -0.4], [-0.4, -0.4]);
    case 6: return polygon([-1, -0.5], [-0.5, -1], [0, -0.5], [0.5, -1], [1, -0.5], [0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5], [-0.5, 1], [-1, 0.5], [-0.5, 0]);
    case 7: return polygon([-1.15, 0], [0.85, -1.1], [0.85, 1.1]);
    case 8: return polygon([1.15, 0], [-0.85, -1.1], [-0.85, 1.1]);
    case 9: return polygon([0, -1.15], [1.1, -0.3], [0.7, 1], [-0.7, 1], [-1.1, -0.3]);
    default: return `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
  }
}

/** Line style of emotion `i`. */
export const dash = (i: number): string => ['', '7 3', '2 3', '8 3 2 3', '5 2 1 2 1 2'][Math.max(i, 0) % 5];
