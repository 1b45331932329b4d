// What graphql-codegen makes of the schema and these operations, run by urql against a real server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Client, fetchExchange, type AnyVariables, type TypedDocumentNode } from '@urql/core';

import { pixelsOf } from '../pictures.mjs';
import { startServer } from '../server.mjs';
import {
  CompleteDirectUploadDocument,
  CreateDirectUploadDocument,
  DeleteImageDocument,
  DescribeDocument,
  GalleryDocument,
  LimitsDocument,
  RefetchDocument,
  RestoreDocument,
  TrashDocument,
  UploadDocument,
  WallDocument,
  type GalleryQueryVariables,
  type ImageFormat,
  type TileFragment,
} from './generated/operations';
import type { File as StoredFile } from './generated/schema';
import { pages, picture, type Server } from './pictures';

let server: Server;
let client: Client;

before(async () => {
  server = await startServer();
  const headers = { authorization: `Bearer ${server.token}` };
  client = new Client({ url: server.graphql, exchanges: [fetchExchange], fetchOptions: { headers }, preferGetMethod: false });
});
after(() => server.stop());

async function query<Data, Variables extends AnyVariables>(document: TypedDocumentNode<Data, Variables>, variables: Variables) {
  const { data, error, extensions } = await client.query(document, variables).toPromise();
  assert.equal(error, undefined);
  assert.ok(data);
  return { data, extensions };
}

async function mutate<Data, Variables extends AnyVariables>(document: TypedDocumentNode<Data, Variables>, variables: Variables) {
  const { data, error } = await client.mutation(document, variables).toPromise();
  assert.equal(error, undefined);
  assert.ok(data);
  return data;
}

async function upload(file: File): Promise<TileFragment> {
  const { uploadFile } = await mutate(UploadDocument, { input: { workspaceId: server.workspace, file } });
  assert.deepEqual(uploadFile?.userErrors, []);
  const image = uploadFile?.file?.image;
  assert.ok(image);
  return image;
}

test('a multipart upload is one typed mutation', async () => {
  const file = picture('one.png', 31, 17);
  const image = await upload(file);
  const format: ImageFormat = image.format;
  assert.equal(format, 'PNG');
  assert.deepEqual([image.width, image.height], [31, 17]);
  assert.equal(image.file?.size, file.size);
  assert.ok(image.url);
  const delivered = await fetch(image.url, { headers: { accept: 'image/png' } });
  assert.deepEqual(pixelsOf(Buffer.from(await delivered.arrayBuffer())), { width: 31, height: 17 });
});

test('a gallery is the same list in both directions, and a deletion leaves it', async () => {
  for (let n = 1; n <= 4; n += 1) await upload(picture(`page-${n}.png`, n, 3));
  const orderBy = { field: 'FILENAME', direction: 'ASC' } as const;
  const load = async (page: Omit<GalleryQueryVariables, 'workspaceId'>) => {
    const { data } = await query(GalleryDocument, { workspaceId: server.workspace, orderBy, ...page });
    assert.ok(data.images);
    return data.images;
  };
  const names = (images: { edges: { node: TileFragment }[] }) => images.edges.map(edge => edge.node.file?.filename);

  const forward = await pages(
    cursor => load({ first: 2, after: cursor }),
    ({ pageInfo }) => (pageInfo.hasNextPage ? pageInfo.endCursor : null),
  );
  const all = forward.flatMap(names);
  assert.ok(forward.length > 1);
  assert.equal(all.length, forward[0]?.totalCount);
  const backward = await pages(
    cursor => load({ last: 2, before: cursor }),
    ({ pageInfo }) => (pageInfo.hasPreviousPage ? pageInfo.startCursor : null),
  );
  assert.deepEqual(backward.toReversed().flatMap(names), all);

  const doomed = forward[1]?.edges[0]?.node;
  assert.ok(doomed);
  const { deleteImage } = await mutate(DeleteImageDocument, { input: { id: doomed.id } });
  assert.deepEqual(deleteImage?.userErrors, []);
  assert.equal(deleteImage?.deletedImageId, doomed.id);
  assert.equal(deleteImage?.file?.imageStatus, 'REMOVED');
  const left = names(await load({ first: 100 }));
  assert.deepEqual(left, all.filter(name => name !== doomed.file?.filename));
  assert.equal((await query(RefetchDocument, { id: doomed.id })).data.node, null);
});

test('a direct upload by plain fetch needs no knowledge of where the bytes go', async () => {
  const file = picture('direct.png', 9, 5);
  const { workspace: workspaceId } = server;
  const { createDirectUpload: created } = await mutate(CreateDirectUploadDocument, {
    input: { workspaceId, filename: file.name, mimeType: file.type, size: file.size },
  });
  assert.deepEqual(created?.userErrors, []);
  const target = created?.directUpload;
  assert.ok(target?.uploadUrl);
  let body: BodyInit = file;
  if (target.fileFieldName) {
    const form = new FormData();
    for (const { name, value } of target.formFields) form.append(name, value);
    form.append(target.fileFieldName, file);
    body = form;
  }
  const headers = target.headers.map(({ name, value }): [string, string] => [name, value]);
  const sent = await fetch(target.uploadUrl, { method: target.method, headers, body });
  assert.ok(sent.ok, String(sent.status));
  const { completeDirectUpload: completed } = await mutate(CompleteDirectUploadDocument, { input: { id: target.id } });
  assert.deepEqual(completed?.userErrors, []);
  assert.equal(completed?.file?.size, file.size);
  assert.deepEqual([completed?.image?.width, completed?.image?.height], [9, 5]);
});

test('an object is fetched again by its id, whatever it is', async () => {
  const image = await upload(picture('again.png', 12, 7));
  const { node } = (await query(RefetchDocument, { id: image.id })).data;
  assert.equal(node?.__typename, 'Image');
  // The union is told apart by its type name, and the compiler knows.
  if (node?.__typename === 'Image') assert.deepEqual([node.width, node.height], [12, 7]);
});

test('limits and costs are typed and readable', async () => {
  const { data, extensions } = await query(LimitsDocument, {});
  const size: StoredFile['size'] = data.server?.maxFileSize;
  assert.ok(Number.isSafeInteger(size));
  assert.equal(data.rateLimit, null);
  assert.deepEqual(Object.keys(extensions?.['cost']), ['complexity', 'depth']);
});

test('a wall of pictures is found, described, trashed and restored', async () => {
  const image = await upload(picture('wall.png', 600, 300));
  assert.ok(image.file);
  const input = { id: image.id, alt: 'A wall', focalPoint: { x: 0.5, y: 0.25 } };
  const { updateImage } = await mutate(DescribeDocument, { input });
  assert.deepEqual(updateImage?.userErrors, []);
  const find = async () => {
    const filter = { search: 'wall', orientation: ['LANDSCAPE' as const], width: { min: 600 } };
    const { data } = await query(WallDocument, { workspaceId: server.workspace, filter });
    assert.ok(data.workspace?.images);
    return data.workspace.images;
  };
  const found = await find();
  assert.deepEqual([found.totalCount, found.totalCountPrecision, found.nodes.length], [1, 'EXACT', 1]);
  const [tile] = found.nodes;
  assert.ok(tile?.srcSet && tile.file?.downloadUrl);
  assert.deepEqual([tile.alt, tile.aspectRatio, tile.srcSet.sizes], ['A wall', 2, '33vw']);
  assert.equal((await fetch(tile.srcSet.src)).status, 200);
  assert.equal((await (await fetch(tile.file.downloadUrl)).arrayBuffer()).byteLength, image.file.size);
  const { deleteFile } = await mutate(TrashDocument, { id: image.file.id });
  assert.deepEqual([deleteFile?.deletedFileId, deleteFile?.deletedImageId], [image.file.id, image.id]);
  assert.equal((await find()).totalCount, 0);
  const { restoreFile } = await mutate(RestoreDocument, { id: image.file.id });
  assert.deepEqual([restoreFile?.file?.deletedAt, restoreFile?.file?.image?.alt], [null, 'A wall']);
  assert.equal((await find()).totalCount, 1);
});
