import { defineConfig } from 'vite';

export default defineConfig({
  // Relative addresses, so that the page works under any path.
  base: './',
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
