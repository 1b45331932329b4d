// JavaScript clients against a real server: uploads, direct uploads, lists, deletion, WebSocket.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { ServerError, gql } from '@apollo/client';
import { createClient } from 'graphql-ws';
import { filter, firstValueFrom, timeout } from 'rxjs';
import WebSocket from 'ws';

import { apollo, upload } from './apollo.mjs';
import { jpeg, pixelsOf, png } from './pictures.mjs';
import { startServer } from './server.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

test('a multipart upload answers what the picture is, and its URL delivers it', async () => {
  const client = apollo(server);
  const bytes = png(31, 17, [200, 30, 90]);
  const { file, userErrors } = await upload(client, server.workspace, new File([bytes], 'ä b.png'));
  assert.deepEqual(userErrors, []);
  assert.equal(file.filename, 'ä b.png');
  assert.equal(file.mimeType, 'image/png');
  assert.equal(file.size, bytes.length);
  assert.equal(file.imageStatus, 'READY');
  assert.equal(file.image.width, 31);
  assert.equal(file.image.height, 17);
  const delivered = await delivery(file.image.url);
  assert.deepEqual(pixelsOf(delivered.bytes), { width: 31, height: 17 });

  const { data } = await client.query({
    query: gql`
      query Image($id: ID!) {
        image(id: $id) {
          id
          width
          height
          url
        }
      }
    `,
    variables: { id: file.image.id },
    fetchPolicy: 'network-only',
  });
  assert.equal(data.image.width, 31);
  assert.equal(data.image.height, 17);
  assert.equal(data.image.url, file.image.url);
});

test('a photo taken with the camera turned has the pixels of the upright picture', async () => {
  const bytes = jpeg(24, 40, { orientation: 6, make: 'Tiny Cameras' });
  const { file } = await upload(apollo(server), server.workspace, new File([bytes], 'turned.jpg'));
  assert.equal(file.mimeType, 'image/jpeg');
  assert.equal(file.image.width, 40);
  assert.equal(file.image.height, 24);
  assert.deepEqual(file.image.exif, { Make: 'Tiny Cameras', Orientation: 6 });
  assert.deepEqual(pixelsOf((await delivery(file.image.url)).bytes), { width: 40, height: 24 });
});

test('any other file is stored without an image', async () => {
  const { file, userErrors } = await upload(
    apollo(server),
    server.workspace,
    new File(['a,b\n1,2\n'], 'table.csv', { type: 'text/csv' }),
  );
  assert.deepEqual(userErrors, []);
  assert.equal(file.imageStatus, 'NOT_APPLICABLE');
  assert.equal(file.image, null);
});

test('a refusal reaches the client as a user error', async () => {
  const empty = await upload(apollo(server), server.workspace, new File([], 'empty.png'));
  assert.equal(empty.file, null);
  assert.deepEqual(empty.userErrors.map(({ code, field }) => ({ code, field })), [
    { code: 'EMPTY_FILE', field: ['input', 'file'] },
  ]);
});

test('an upload with a wrong token is answered, not cut off', async () => {
  const stranger = apollo({ ...server, token: 'imgr_wrong' });
  // Again and again on connections that are kept: the answer must not race with the bytes.
  for (let n = 0; n < 20; n += 1) {
    const file = new File([png(40, 40, [n, 0, 0])], 'no.png');
    await assert.rejects(upload(stranger, server.workspace, file), problem => {
      // Which of the two Apollo makes of it depends on the media type of the answer.
      const errors = ServerError.is(problem) ? JSON.parse(problem.bodyText).errors : problem.errors;
      assert.ok(errors, `request ${n + 1}: ${problem.cause?.message ?? problem.message}`);
      assert.deepEqual(errors.map(error => error.extensions.code), ['UNAUTHENTICATED']);
      return true;
    });
  }
});

test('a direct upload needs no token of ours to send the bytes', async () => {
  const bytes = png(9, 5, [10, 120, 240]);
  const { createDirectUpload: created } = await ask(
    `mutation ($input: CreateDirectUploadInput!) {
      createDirectUpload(input: $input) {
        directUpload { id status uploadUrl method headers { name value } formFields { name value } fileFieldName maxSize }
        file { id status }
        userErrors { code message field }
      }
    }`,
    {
      input: { workspaceId: server.workspace, filename: 'direct.png', mimeType: 'image/png', size: bytes.length },
    },
  );
  assert.deepEqual(created.userErrors, []);
  assert.equal(created.file.status, 'AWAITING_UPLOAD');
  const { id, uploadUrl, method, headers, formFields, fileFieldName, maxSize } = created.directUpload;
  assert.ok(maxSize >= bytes.length);

  const complete = () =>
    ask(
      `mutation ($input: CompleteDirectUploadInput!) {
        completeDirectUpload(input: $input) {
          directUpload { id status uploadUrl }
          file { id status mimeType size }
          image { id width height url }
          userErrors { code message field }
        }
      }`,
      { input: { id } },
    ).then(data => data.completeDirectUpload);
  assert.deepEqual((await complete()).userErrors.map(problem => problem.code), ['UPLOAD_INCOMPLETE']);

  const form = new FormData();
  for (const { name, value } of formFields) form.append(name, value);
  form.append(fileFieldName, new File([bytes], 'direct.png', { type: 'image/png' }));
  const sent = await fetch(uploadUrl, {
    method,
    headers: headers.map(({ name, value }) => [name, value]),
    body: form,
  });
  assert.ok(sent.ok, `${sent.status} ${await sent.text()}`);

  const completed = await complete();
  assert.deepEqual(completed.userErrors, []);
  assert.equal(completed.directUpload.status, 'COMPLETED');
  assert.equal(completed.directUpload.uploadUrl, null);
  assert.deepEqual(completed.file, { id: created.file.id, status: 'READY', mimeType: 'image/png', size: bytes.length });
  assert.equal(completed.image.width, 9);
  assert.equal(completed.image.height, 5);
  assert.deepEqual(pixelsOf((await delivery(completed.image.url)).bytes), { width: 9, height: 5 });
  assert.deepEqual(await complete(), completed);
});

test('any file goes by PUT, and comes back by its download URL', async () => {
  const bytes = new TextEncoder().encode('a,b\n1,2\n');
  const { createDirectUpload: created } = await ask(
    `mutation ($input: CreateDirectUploadInput!) {
      createDirectUpload(input: $input) {
        directUpload { id transport uploadUrl method headers { name value } }
        userErrors { code message field }
      }
    }`,
    {
      input: { workspaceId: server.workspace, filename: 'table.csv', mimeType: 'text/csv', size: bytes.length },
    },
  );
  assert.deepEqual(created.userErrors, []);
  const { transport, uploadUrl, method, headers } = created.directUpload;
  assert.equal(transport, 'PUT');
  const sent = await fetch(uploadUrl, { method, headers: headers.map(({ name, value }) => [name, value]), body: bytes });
  assert.equal(sent.status, 200);
  const { fileId } = await sent.json();
  const { file } = await ask('query ($id: ID!) { file(id: $id) { status downloadUrl } }', { id: fileId });
  assert.equal(file.status, 'READY');
  const part = await fetch(file.downloadUrl, { headers: { Range: 'bytes=4-' } });
  assert.equal(part.status, 206);
  assert.equal(await part.text(), '1,2\n');
});

test('lists grow in both directions, and a deletion leaves them', async () => {
  const client = apollo(server);
  for (let n = 1; n <= 5; n += 1) {
    const file = new File([png(n, 3, [0, 0, 40 * n])], `list-${n}.png`);
    assert.deepEqual((await upload(client, server.workspace, file)).userErrors, []);
  }
  // In the order of the names: what the tests before this one left comes before or after these five.
  const orderBy = { field: 'FILENAME', direction: 'ASC' };
  const all = (await walk(orderBy, 'forward')).map(image => image.file.filename);
  assert.deepEqual((await walk(orderBy, 'backward')).map(image => image.file.filename), all);
  assert.deepEqual(all.toSorted(), all);
  assert.equal(all.filter(name => name.startsWith('list-')).length, 5);

  // One growing list, as a page with a "more" button has it.
  const forward = watch(client, { first: 3, orderBy });
  let shown = await forward.show(3);
  assert.deepEqual(shown.names, all.slice(0, 3));
  assert.equal(shown.totalCount, all.length);
  while (shown.pageInfo.hasNextPage) {
    await forward.more({ after: shown.pageInfo.endCursor });
    shown = await forward.show(Math.min(shown.names.length + 3, all.length));
  }
  assert.deepEqual(shown.names, all);

  // The same from the end, in a client with an empty cache.
  const backward = watch(apollo(server), { last: 3, orderBy });
  let fromEnd = await backward.show(3);
  assert.deepEqual(fromEnd.names, all.slice(-3));
  while (fromEnd.pageInfo.hasPreviousPage) {
    await backward.more({ before: fromEnd.pageInfo.startCursor });
    fromEnd = await backward.show(Math.min(fromEnd.names.length + 3, all.length));
  }
  assert.deepEqual(fromEnd.names, all);
  backward.stop();

  const doomed = shown.edges.find(edge => edge.node.file.filename === 'list-3.png').node;
  const { data } = await client.mutate({
    mutation: DELETE_IMAGE,
    variables: { input: { id: doomed.id } },
    update(cache, { data: { deleteImage } }) {
      cache.evict({ id: cache.identify({ __typename: 'Image', id: deleteImage.deletedImageId }) });
      cache.gc();
    },
  });
  assert.deepEqual(data.deleteImage.userErrors, []);
  assert.equal(data.deleteImage.deletedImageId, doomed.id);
  assert.equal(data.deleteImage.file.id, doomed.file.id);
  assert.equal(data.deleteImage.file.imageStatus, 'REMOVED');

  const left = all.filter(name => name !== 'list-3.png');
  assert.deepEqual((await forward.show(left.length)).names, left, 'the list on the screen');
  assert.deepEqual((await walk(orderBy, 'forward')).map(image => image.file.filename), left, 'the list on the server');
  assert.equal((await ask('query ($id: ID!) { node(id: $id) { id } }', { id: doomed.id })).node, null);
  forward.stop();
});

test('a WebSocket answers whoever gives a token when it opens', async () => {
  const socket = token =>
    createClient({
      url: server.graphql.replace('http:', 'ws:'),
      webSocketImpl: WebSocket,
      connectionParams: { Authorization: `Bearer ${token}` },
      retryAttempts: 0,
    });
  const query = '{ viewer { user { role } } }';

  const client = socket(server.token);
  const answers = [];
  for await (const answer of client.iterate({ query })) answers.push(answer);
  await client.dispose();
  assert.deepEqual(answers, [
    { data: { viewer: { user: { role: 'ADMIN' } } }, extensions: { cost: { complexity: 3, depth: 3 } } },
  ]);

  const stranger = socket('imgr_wrong');
  await assert.rejects(stranger.iterate({ query }).next(), closed => /unauthorized|forbidden/i.test(closed.reason));
  await stranger.dispose();
});

/** A list that is watched. `show` waits until it shows that many images. */
function watch(client, variables) {
  const list = client.watchQuery({ query: IMAGES, variables: { workspaceId: server.workspace, ...variables } });
  const subscription = list.subscribe(() => {});
  const shows = count =>
    filter(({ dataState, data }) => dataState === 'complete' && data.images.edges.length === count);
  return {
    show: async count => {
      const { images } = (await firstValueFrom(list.pipe(shows(count), timeout(10_000)))).data;
      return { ...images, names: images.edges.map(edge => edge.node.file.filename) };
    },
    more: cursor => list.fetchMore({ variables: { workspaceId: server.workspace, ...variables, ...cursor } }),
    stop: () => subscription.unsubscribe(),
  };
}

const IMAGES = gql`
  query Images($workspaceId: ID, $first: Int, $after: String, $last: Int, $before: String, $orderBy: ImageOrder) {
    images(
      workspaceId: $workspaceId
      first: $first
      after: $after
      last: $last
      before: $before
      orderBy: $orderBy
    ) {
      totalCount
      edges {
        cursor
        node {
          id
          width
          file {
            id
            filename
          }
        }
      }
      pageInfo {
        hasNextPage
        hasPreviousPage
        startCursor
        endCursor
      }
    }
  }
`;

const DELETE_IMAGE = gql`
  mutation DeleteImage($input: DeleteImageInput!) {
    deleteImage(input: $input) {
      success
      deletedImageId
      file {
        id
        imageStatus
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`;

/** Every image, two a page, without a cache in between; from first to last whichever way it walks. */
async function walk(orderBy, direction) {
  const found = [];
  let page = {};
  for (;;) {
    const { images } = await ask(
      `query ($workspaceId: ID, $orderBy: ImageOrder, $first: Int, $after: String, $last: Int, $before: String) {
        images(workspaceId: $workspaceId, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
          nodes { id file { filename } }
          pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
      }`,
      { workspaceId: server.workspace, orderBy, [direction === 'forward' ? 'first' : 'last']: 2, ...page },
    );
    const { nodes, pageInfo } = images;
    assert.ok(nodes.length > 0 && nodes.length <= 2);
    if (direction === 'forward') {
      assert.equal(pageInfo.hasPreviousPage, found.length > 0);
      found.push(...nodes);
      if (!pageInfo.hasNextPage) return found;
      page = { after: pageInfo.endCursor };
    } else {
      assert.equal(pageInfo.hasNextPage, found.length > 0);
      found.unshift(...nodes);
      if (!pageInfo.hasPreviousPage) return found;
      page = { before: pageInfo.startCursor };
    }
  }
}

/** One request by plain `fetch`; answers its data. */
async function ask(query, variables) {
  const response = await fetch(server.graphql, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined);
  return data;
}

/** What a delivery URL answers to somebody without a token. */
async function delivery(url) {
  const response = await fetch(url, { headers: { accept: 'image/png,image/jpeg' } });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^image\/(png|jpeg)$/);
  return { bytes: Buffer.from(await response.arrayBuffer()) };
}
