import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

import { defineConfig } from 'vite';

// Smaller files stay as they are.
const SMALLEST = 1024;

// Replaces each file that compresses well by `<file>.br` and `<file>.gz`, which the server embeds and sends.
function compress() {
  let folder;
  return {
    name: 'compress',
    apply: 'build',
    configResolved(config) {
      folder = config.build.outDir;
    },
    async closeBundle() {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
      await Promise.all(files.map(compressFile));
    },
  };
}

async function compressFile(file) {
  const bytes = await readFile(file);
  if (bytes.length < SMALLEST) return;
  const params = { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  const [small, larger] = await Promise.all([
    promisify(brotliCompress)(bytes, { params }),
    promisify(gzip)(bytes, { level: constants.Z_BEST_COMPRESSION }),
  ]);
  if (larger.length > 0.9 * bytes.length) return;
  await Promise.all([writeFile(`${file}.br`, small), writeFile(`${file}.gz`, larger)]);
  await rm(file);
}

export default defineConfig({
  // Relative addresses, so that the page works under any path.
  base: './',
  plugins: [compress()],
  build: {
    assetsInlineLimit: 0,
    // Monaco is one large chunk by nature.
    chunkSizeWarningLimit: 5000,
    // The licences of what is bundled, shipped beside it.
    license: { fileName: 'licenses.md' },
    modulePreload: { polyfill: false },
    rolldownOptions: {
      // "use client" means nothing here, and dozens of packages say it.
      onLog: (level, log, handle) => log.code === 'MODULE_LEVEL_DIRECTIVE' || handle(level, log),
    },
    target: 'es2022',
  },
  // `npm run dev` talks to a server started beside it.
  server: {
    proxy: { '/graphql': { target: 'http://127.0.0.1:8080', ws: true } },
  },
});
