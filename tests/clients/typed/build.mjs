// Generates and checks what the typed clients run: Relay's artefacts, graphql-codegen's types and documents, then
// `tsc --strict` over all of it, and one bundle per test file. Everything goes into `generated`.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';
import { buildSchema } from 'graphql';

const here = dirname(fileURLToPath(import.meta.url));
const run = (tool, ...args) =>
  execFileSync(join(here, '../node_modules/.bin', tool), args, { cwd: here, stdio: ['ignore', 'inherit', 'inherit'] });

const schema = buildSchema(readFileSync(join(here, '../../../schema.graphql'), 'utf8'));
const live = Boolean(schema.getSubscriptionType());
if (!live) console.log('typed/live is left out: the schema has no subscriptions.');

rmSync(join(here, 'generated'), { recursive: true, force: true });
mkdirSync(join(here, 'generated/relay'), { recursive: true });
run('relay-compiler', live ? 'relay.live.config.json' : 'relay.config.json');
run('graphql-codegen', '--config', live ? 'codegen.live.ts' : 'codegen.ts', '--silent');
run('tsc', '--project', live ? 'tsconfig.live.json' : 'tsconfig.json');

const testsIn = folder =>
  readdirSync(join(here, folder)).filter(name => name.endsWith('.test.ts')).map(name => join(here, folder, name));
await build({
  entryPoints: [...testsIn('.'), ...(live ? testsIn('live') : [])],
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
