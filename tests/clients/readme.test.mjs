// What the README shows of client configuration is what these tests run with.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const read = path => readFile(new URL(path, import.meta.url), 'utf8');

for (const path of ['typed/codegen.ts', 'typed/relay.config.json', 'cache.mjs']) {
  test(`the README shows tests/clients/${path}`, async () => {
    const [readme, file] = await Promise.all([read('../../README.md'), read(path)]);
    assert.ok(readme.includes(`\n${file}\`\`\`\n`), 'the README shows something else');
  });
}
