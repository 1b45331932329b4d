// Generates and checks what the typed clients run: Relay's artefacts, graphql-codegen's types and documents, then
// `tsc --strict` over all of it, and one bundle per test file. Everything goes into `generated`.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const run = (tool, ...args) =>
  execFileSync(join(here, '../node_modules/.bin', tool), args, { cwd: here, stdio: ['ignore', 'inherit', 'inherit'] });

rmSync(join(here, 'generated'), { recursive: true, force: true });
mkdirSync(join(here, 'generated/relay'), { recursive: true });
run('relay-compiler', 'relay.config.json');
run('graphql-codegen', '--config', 'codegen.ts', '--silent');
run('tsc', '--project', 'tsconfig.json');

const testsIn = folder =>
  readdirSync(join(here, folder)).filter(name => name.endsWith('.test.ts')).map(name => join(here, folder, name));
await build({
  entryPoints: [...testsIn('.'), ...testsIn('live')],
  outdir: join(here, 'generated/tests'),
  entryNames: '[name]',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'cjs',
  sourcemap: 'inline',
  logLevel: 'warning',
});
