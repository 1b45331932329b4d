// A direct upload from a page of another origin, as an application's own frontend sends it: plain `fetch` in a browser.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { findChromium, launch } from './chromium.mjs';
import { png } from './pictures.mjs';
import { startServer } from './server.mjs';

let server;
let frontend;
let browser;

before(async () => {
  const chromium = findChromium();
  assert.ok(chromium, 'no Chromium on the path; CHROMIUM names one elsewhere');
  server = await startServer();
  frontend = createServer((_, response) => response.end('<!doctype html><title>An application</title>'));
  frontend.listen(0, '127.0.0.1');
  await once(frontend, 'listening');
  browser = await launch(chromium);
});
after(async () => {
  await browser?.close();
  frontend?.close();
  await server?.stop();
});

test('a page of another origin uploads directly and shows what it sent', async () => {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${frontend.address().port}/`);
  const bytes = [...png(23, 11, [10, 200, 90])];
  const { graphql, token, workspace } = server;
  const shown = await page.evaluate(uploadAndShow, { graphql, token, workspace, bytes });
  assert.deepEqual(shown, { width: 23, height: 11, naturalWidth: 23, naturalHeight: 11 });
});

/** Runs in the page. Its backend would make and complete the upload; here it does so itself. */
async function uploadAndShow({ graphql, token, workspace, bytes }) {
  async function ask(query, input) {
    const response = await fetch(graphql, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables: { input } }),
    });
    const { data, errors } = await response.json();
    if (errors) throw new Error(JSON.stringify(errors));
    const [payload] = Object.values(data);
    if (payload.userErrors.length > 0) throw new Error(JSON.stringify(payload.userErrors));
    return payload;
  }

  const file = new File([new Uint8Array(bytes)], 'page.png', { type: 'image/png' });
  const { directUpload } = await ask(
    `mutation ($input: CreateDirectUploadInput!) {
      createDirectUpload(input: $input) {
        directUpload { id method uploadUrl headers { name value } formFields { name value } fileFieldName }
        userErrors { code message }
      }
    }`,
    { workspaceId: workspace, filename: file.name, mimeType: file.type, size: file.size },
  );
  let body = file;
  if (directUpload.fileFieldName) {
    body = new FormData();
    for (const { name, value } of directUpload.formFields) body.append(name, value);
    body.append(directUpload.fileFieldName, file);
  }
  const headers = directUpload.headers.map(({ name, value }) => [name, value]);
  const sent = await fetch(directUpload.uploadUrl, { method: directUpload.method, headers, body });
  if (!sent.ok) throw new Error(`${sent.status} ${await sent.text()}`);
  const { image } = await ask(
    `mutation ($input: CompleteDirectUploadInput!) {
      completeDirectUpload(input: $input) { image { url width height } userErrors { code message } }
    }`,
    { id: directUpload.id },
  );
  const img = new Image();
  img.src = image.url;
  await img.decode();
  const { naturalWidth, naturalHeight } = img;
  return { width: image.width, height: image.height, naturalWidth, naturalHeight };
}
