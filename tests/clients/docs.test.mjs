// What the guides show of clients is what these tests run with: every snippet is one of the files, and each of them works.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import WebSocket from 'ws';

import { apollo, upload } from './apollo.mjs';
import { send } from './direct-upload.mjs';
import { follow as followSocket } from './follow-socket.mjs';
import { follow as followStream } from './follow-stream.mjs';
import imagegraphLoader from './next-loader.mjs';
import { pixelsOf, png } from './pictures.mjs';
import { startServer } from './server.mjs';
import { newClient } from './urql.mjs';

const SHOWN = {
  'docs/clients.md': [
    'typed/codegen.ts',
    'typed/relay.config.json',
    'cache.mjs',
    'urql.mjs',
    'next-loader.mjs',
    'direct-upload.mjs',
  ],
  'docs/live.md': ['follow-socket.mjs', 'follow-stream.mjs'],
};

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

const read = path => readFile(new URL(path, import.meta.url), 'utf8');

for (const [page, paths] of Object.entries(SHOWN)) {
  test(`every snippet of ${page} is a file that is tested`, async () => {
    const text = await read(`../../${page}`);
    const files = await Promise.all(paths.map(read));
    const shown = [...text.matchAll(/^```(?:js|ts)\n(.*?)^```/gms)].map(match => match[1]);
    for (const [index, file] of files.entries()) assert.ok(text.includes(`\n${file}\`\`\`\n`), `${paths[index]} is not shown`);
    for (const snippet of shown) assert.ok(files.includes(snippet), `this is no file of the tests:\n${snippet}`);
  });
}

const photo = name => new File([png(640, 480, [90, 120, 150])], name, { type: 'image/png' });

/** Asks the server; answers `data`. */
async function ask(query, variables) {
  const headers = { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ query, variables });
  const { data, errors } = await (await fetch(server.graphql, { method: 'POST', headers, body })).json();
  assert.equal(errors, undefined);
  return data;
}

test("the loader of Next.js delivers the width that it is asked for", async () => {
  await ask('mutation { updateCloudflareAccount(input: { flexibleVariants: true }) { userErrors { code } } }');
  const { file } = await upload(apollo(server), server.workspace, photo('next.png'));
  const url = imagegraphLoader({ src: file.image.url, width: 256 });
  const delivered = await fetch(url, { headers: { accept: 'image/png' } });
  assert.equal(delivered.status, 200, url);
  assert.deepEqual(pixelsOf(Buffer.from(await delivered.arrayBuffer())), { width: 256, height: 192 });
});

test('urql asks, and follows an upload that a page sends', async () => {
  const client = newClient(server.graphql, server.token, WebSocket);
  const { data } = await client.query('{ server { version } }', {}).toPromise();
  assert.ok(data.server.version);
  for (const [name, type, transport] of [
    ['direct.png', 'image/png', 'FORM_POST'],
    ['direct.txt', 'text/plain', 'PUT'],
  ]) {
    const input = { workspaceId: server.workspace, filename: name, mimeType: type, transport };
    const { createDirectUpload } = await ask(CREATE, { input });
    assert.deepEqual(createDirectUpload.userErrors, []);
    const { directUpload } = createDirectUpload;
    const file = transport === 'PUT' ? new File(['text'], name, { type }) : photo(name);
    const sent = await send(directUpload, file);
    assert.equal(sent.status, 200, await sent.text());
    await ask('mutation ($id: ID!) { completeDirectUpload(input: { id: $id }) { userErrors { code } } }', { id: directUpload.id });
    const progress = client.subscription('subscription ($id: ID!) { uploadProgress(id: $id) { status } }', { id: directUpload.id });
    const last = await new Promise(resolve => progress.subscribe(resolve));
    assert.equal(last.error, undefined);
    assert.equal(last.data.uploadProgress.status, 'COMPLETED');
  }
});

for (const [name, follow] of Object.entries({
  'over a socket': () => followSocket({ ...whom(), url: server.graphql.replace('http', 'ws'), webSocketImpl: WebSocket }),
  'over a stream': () => followStream({ ...whom(), url: server.graphql }),
})) {
  test(`a workspace is followed ${name}`, async () => {
    const events = follow();
    let told;
    const first = events.next().then(event => (told = event));
    // Nothing tells a client that it follows.
    for (let n = 0; !told; n += 1) {
      await upload(apollo(server), server.workspace, photo(`${name}-${n}.png`));
      await new Promise(resolve => setTimeout(resolve, 200));
    }
    const { value } = await first;
    assert.ok(value.kind && value.cursor && value.file.id);
    await events.return();
  });
}

const whom = () => ({ token: server.token, workspace: server.workspace });

const CREATE = `mutation ($input: CreateDirectUploadInput!) {
  createDirectUpload(input: $input) {
    directUpload { id uploadUrl method headers { name value } formFields { name value } fileFieldName }
    userErrors { code message }
  }
}`;
