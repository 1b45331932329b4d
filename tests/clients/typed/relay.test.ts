// What Relay's compiler makes of the schema, run by relay-runtime against a real server: what its store shows after each
// step is what a screen would show.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import {
  Environment,
  Network,
  RecordSource,
  Store,
  commitMutation,
  fetchQuery,
  getFragment,
  getSingularSelector,
  type GraphQLTaggedNode,
  type MutationParameters,
  type SelectorData,
  type UploadableMap,
} from 'relay-runtime';

import { startServer } from '../server.mjs';
import completeDirectUpload, { type GalleryCompleteDirectUploadMutation } from './generated/relay/GalleryCompleteDirectUploadMutation.graphql';
import createDirectUpload, { type GalleryCreateDirectUploadMutation } from './generated/relay/GalleryCreateDirectUploadMutation.graphql';
import deleteImage, { type GalleryDeleteMutation } from './generated/relay/GalleryDeleteMutation.graphql';
import pageQuery, { type GalleryPageQuery } from './generated/relay/GalleryPageQuery.graphql';
import galleryQuery, { type GalleryQuery } from './generated/relay/GalleryQuery.graphql';
import uploadFile, { type GalleryUploadMutation } from './generated/relay/GalleryUploadMutation.graphql';
import workspaceImages, { type Gallery_workspace$data, type Gallery_workspace$key } from './generated/relay/Gallery_workspace.graphql';
import tileRefetch, { type TileRefetchQuery } from './generated/relay/TileRefetchQuery.graphql';
import tileImage, { type Tile_image$data, type Tile_image$key } from './generated/relay/Tile_image.graphql';
import { picture, type Server } from './pictures';

const ORDER = { field: 'FILENAME', direction: 'ASC' } as const;

let server: Server;
before(async () => {
  server = await startServer();
  const environment = newEnvironment();
  for (let n = 1; n <= 5; n += 1) await upload(environment, `list-${n}.png`, []);
});
after(() => server.stop());

function newEnvironment(): Environment {
  const network = Network.create(async ({ text, name }, variables, _, uploadables) => {
    const asked = { query: text, operationName: name, variables };
    const headers = { authorization: `Bearer ${server.token}`, accept: 'application/graphql-response+json' };
    const json = { ...headers, 'content-type': 'application/json' };
    const response = uploadables
      ? await fetch(server.graphql, { method: 'POST', headers, body: multipart(asked, uploadables) })
      : await fetch(server.graphql, { method: 'POST', headers: json, body: JSON.stringify(asked) });
    return response.json();
  });
  return new Environment({ network, store: new Store(new RecordSource()) });
}

/** A multipart request; each file is named by the variable it stands for, with dots. */
function multipart(operations: object, uploadables: UploadableMap): FormData {
  const form = new FormData();
  const files = Object.entries(uploadables);
  form.append('operations', JSON.stringify(operations));
  form.append('map', JSON.stringify(Object.fromEntries(files.map(([path], n) => [n, [`variables.${path}`]]))));
  for (const [n, [, file]] of files.entries()) form.append(String(n), file);
  return form;
}

function commit<Mutation extends MutationParameters>(
  environment: Environment,
  mutation: GraphQLTaggedNode,
  variables: Mutation['variables'],
  uploadables?: UploadableMap,
): Promise<Mutation['response']> {
  return new Promise((resolve, reject) => {
    commitMutation<Mutation>(environment, {
      mutation,
      variables,
      ...(uploadables && { uploadables }),
      onCompleted: (response, errors) => (errors?.length ? reject(new Error(JSON.stringify(errors))) : resolve(response)),
      onError: reject,
    });
  });
}

async function upload(environment: Environment, name: string, connections: string[]) {
  // The file travels beside the variables, where Relay wants it.
  const input = { workspaceId: server.workspace, file: null as unknown as File };
  const uploadables = { 'input.file': picture(name, 8, 6) };
  const { uploadFile: payload } = await commit<GalleryUploadMutation>(environment, uploadFile, { input, connections }, uploadables);
  assert.deepEqual(payload?.userErrors, []);
}

/** What a component reads with a fragment. */
function read<Data>(environment: Environment, fragment: GraphQLTaggedNode, key: object): Data {
  const selector = getSingularSelector(getFragment(fragment), key);
  assert.ok(selector);
  return environment.lookup(selector).data as SelectorData as Data;
}

/** A gallery's first page, and ways to look at it and to grow it. */
async function openGallery(environment: Environment, page: { first: number } | { last: number }) {
  const variables = { id: server.workspace, orderBy: ORDER, ...page };
  const answer = await fetchQuery<GalleryQuery>(environment, galleryQuery, variables).toPromise();
  const key: Gallery_workspace$key | null | undefined = answer?.workspace;
  assert.ok(key);
  const show = () => {
    const { images } = read<Gallery_workspace$data>(environment, workspaceImages, key);
    assert.ok(images);
    const tiles = images.edges.map(({ node }) => tile(environment, node));
    return { ...images, tiles, names: tiles.map(image => image.file.filename) };
  };
  const more = (cursor: { first: number; after: string | null } | { last: number; before: string | null }) =>
    fetchQuery<GalleryPageQuery>(environment, pageQuery, { id: server.workspace, orderBy: ORDER, ...cursor }).toPromise();
  return { show, more };
}

function tile(environment: Environment, key: Tile_image$key): Tile_image$data {
  return read<Tile_image$data>(environment, tileImage, key);
}

test('a connection grows forward', async () => {
  const gallery = await openGallery(newEnvironment(), { first: 2 });
  let shown = gallery.show();
  assert.deepEqual(shown.names, ['list-1.png', 'list-2.png']);
  while (shown.pageInfo.hasNextPage) {
    await gallery.more({ first: 2, after: shown.pageInfo.endCursor ?? null });
    shown = gallery.show();
  }
  assert.deepEqual(shown.names, [1, 2, 3, 4, 5].map(n => `list-${n}.png`));
  assert.equal(shown.totalCount, 5);
});

test('a connection grows backward', async () => {
  const gallery = await openGallery(newEnvironment(), { last: 2 });
  let shown = gallery.show();
  assert.deepEqual(shown.names, ['list-4.png', 'list-5.png']);
  while (shown.pageInfo.hasPreviousPage) {
    await gallery.more({ last: 2, before: shown.pageInfo.startCursor ?? null });
    shown = gallery.show();
  }
  assert.deepEqual(shown.names, [1, 2, 3, 4, 5].map(n => `list-${n}.png`));
});

test('an upload enters the list, a deletion leaves it, and both the store', async () => {
  const environment = newEnvironment();
  const gallery = await openGallery(environment, { first: 10 });
  const connection = gallery.show().__id;
  const before = gallery.show().names;
  await upload(environment, 'new.png', [connection]);
  assert.deepEqual(gallery.show().names, ['new.png', ...before]);

  const doomed = gallery.show().tiles[0];
  assert.ok(doomed);
  const variables = { input: { id: doomed.id }, connections: [connection] };
  const { deleteImage: payload } = await commit<GalleryDeleteMutation>(environment, deleteImage, variables);
  assert.deepEqual(payload?.userErrors, []);
  assert.deepEqual(gallery.show().names, before, 'the edge is gone');
  assert.equal(environment.getStore().getSource().get(doomed.id), null, 'the record is deleted');
  assert.equal(environment.getStore().getSource().get(doomed.file.id)?.['imageStatus'], 'REMOVED', 'the file is told');
});

test('a direct upload enters the list once it is complete', async () => {
  const environment = newEnvironment();
  const gallery = await openGallery(environment, { first: 10 });
  const file = picture('direct.png', 9, 5);
  const input = { workspaceId: server.workspace, filename: file.name, mimeType: file.type, size: file.size };
  const { createDirectUpload: created } = await commit<GalleryCreateDirectUploadMutation>(environment, createDirectUpload, { input });
  const target = created?.directUpload;
  assert.ok(target?.uploadUrl);
  const form = new FormData();
  for (const { name, value } of target.formFields) form.append(name, value);
  form.append(target.fileFieldName ?? 'file', file);
  const sent = await fetch(target.uploadUrl, { method: target.method, body: form });
  assert.ok(sent.ok, String(sent.status));
  const variables = { input: { id: target.id }, connections: [gallery.show().__id] };
  await commit<GalleryCompleteDirectUploadMutation>(environment, completeDirectUpload, variables);
  assert.equal(gallery.show().names[0], 'direct.png');
});

test('a tile is fetched again through node', async () => {
  const environment = newEnvironment();
  const gallery = await openGallery(environment, { first: 1 });
  const [shown] = gallery.show().tiles;
  assert.ok(shown);
  const answer = await fetchQuery<TileRefetchQuery>(environment, tileRefetch, { id: shown.id }).toPromise();
  assert.ok(answer?.node);
  const again = tile(environment, answer.node);
  // Typed as a string: the schema says that it is null only after an error.
  const url: string = again.url;
  assert.equal(url, shown.url);
});
