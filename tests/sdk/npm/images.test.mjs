// Calls every Images method of Cloudflare's SDK on the emulator, and checks results and errors.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Cloudflare from 'cloudflare';
import {
  GIF,
  JPEG,
  SVG,
  WEBP,
  account_id,
  connect,
  deliver,
  file,
  methodsOf,
  origin,
  png,
  refused,
  sign,
  sizeOf,
  unique,
} from './support.mjs';

const {
  APIError,
  AuthenticationError,
  BadRequestError,
  ConflictError,
  NotFoundError,
  PermissionDeniedError,
} = Cloudflare;

const client = connect();
const { v1, v2 } = client.images;
const me = { account_id };

const PUBLIC_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{10}00$/;
const PRIVATE_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{10}01$/;
const TEN_MB = 10 * 1024 * 1024;

// Each method of the SDK records that it was called; the last test fails if one was not.
const methods = methodsOf(client.images);
const called = new Set();
for (const [resource, name, path] of methods) {
  const real = resource[name];
  resource[name] = function (...args) {
    called.add(path);
    return real.apply(this, args);
  };
}

const create = async (fields = {}) => v1.create({ ...me, file: await file(), ...fields });
const variantUrl = (image, name = 'public') => image.variants.find((url) => url.endsWith(`/${name}`));
const ids = (images) => images.map((image) => image.id);
const metadataOf = (bytes) => ({ a: 'x'.repeat(bytes - '{"a":""}'.length) });
const soon = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();

async function blobOf(id) {
  return Buffer.from(await (await v1.blobs.get(id, me)).arrayBuffer());
}

/** Uploads to an upload URL, as a browser or an app does. */
async function upload(url, bytes = png(), { name = 'mine.png', part = 'file' } = {}) {
  const form = new FormData();
  form.set(part, new File([bytes], name));
  const answer = await fetch(url, { method: 'POST', body: form });
  return { status: answer.status, headers: answer.headers, ...(await answer.json()) };
}

describe('v1.create', () => {
  test('a file with everything said about it', async () => {
    const creator = unique();
    const image = await v1.create({
      ...me,
      file: await file(png(), 'naïve photo.png'),
      metadata: JSON.stringify({ album: 'été', n: 7, ok: true, none: null, list: [1, 'two'] }),
      creator,
      requireSignedURLs: false,
    });
    assert.deepEqual(Object.keys(image), [
      'id',
      'filename',
      'meta',
      'uploaded',
      'requireSignedURLs',
      'variants',
      'creator',
    ]);
    assert.match(image.id, PUBLIC_ID);
    assert.equal(image.filename, 'naïve photo.png');
    assert.deepEqual(image.meta, { album: 'été', n: 7, ok: true, none: null, list: [1, 'two'] });
    assert.match(image.uploaded, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok(Math.abs(Date.now() - Date.parse(image.uploaded)) < 60_000);
    assert.equal(image.requireSignedURLs, false);
    assert.equal(image.creator, creator);
    assert.match(variantUrl(image), new RegExp(`/imagedelivery/[\\w-]{22}/${image.id}/public$`));
    const delivered = await deliver(variantUrl(image));
    assert.equal(delivered.status, 200);
    assert.deepEqual(sizeOf(delivered.bytes), [3, 2]);
  });

  test('nothing said about it: neither meta nor creator nor draft in the answer', async () => {
    const image = await create();
    assert.deepEqual(Object.keys(image), ['id', 'filename', 'uploaded', 'requireSignedURLs', 'variants']);
    assert.equal(image.filename, 'tiny.png');
  });

  test('metadata as an object, which the SDK flattens to text', async () => {
    const image = await create({ metadata: { a: 'x', b: { c: 'y', d: { e: 'ü z' } }, f: ['p', 'q'], n: 5 } });
    assert.deepEqual(image.meta, { a: 'x', b: { c: 'y', d: { e: 'ü z' } }, f: ['p', 'q'], n: '5' });
  });

  test('every format, whatever type is declared', async () => {
    const pictures = [
      [png(), 'image/png'],
      [JPEG, 'image/jpeg'],
      [GIF, 'image/gif'],
      [WEBP, 'image/webp'],
      [SVG, 'image/svg+xml'],
    ];
    for (const [bytes, type] of pictures) {
      const image = await create({ file: await file(bytes, 'upload', 'application/octet-stream') });
      const blob = await v1.blobs.get(image.id, me);
      assert.equal(blob.headers.get('content-type'), type);
      assert.deepEqual(Buffer.from(await blob.arrayBuffer()), bytes);
      const delivered = await deliver(variantUrl(image), type);
      assert.equal(delivered.status, 200, `${type}: ${delivered.text}`);
    }
  });

  test('custom ids: paths, spaces, UTF-8 and percent signs work in every call', async () => {
    const base = unique();
    const odd = ['/grüße 日本', '/100%25 off', '/a+b&c=d;e,f', '/what?now#here'];
    for (const tail of ['', '/shoes/red.jpg', ...odd, '/keys', '/x/blob']) {
      const id = base + tail;
      const image = await create({ id });
      assert.equal(image.id, id);
      assert.equal((await v1.get(id, me)).id, id);
      assert.deepEqual(await blobOf(id), png());
      assert.equal((await v1.edit(id, { ...me, metadata: { tail } })).meta.tail, tail);
      const delivered = await deliver(variantUrl(image));
      assert.equal(delivered.status, 200, `${variantUrl(image)}: ${delivered.text}`);
      assert.deepEqual(await v1.delete(id, me), {});
    }
  });

  test('custom ids of 1,024 characters, and of characters that are not bytes', async () => {
    const id = unique() + 'ä'.repeat(900);
    assert.equal((await create({ id })).id, id);
    const longest = unique().padEnd(1024, 'z');
    assert.equal((await v1.get((await create({ id: longest })).id, me)).id, longest);
  });

  test('a private image has another kind of id and needs a signature', async () => {
    const image = await create({ requireSignedURLs: true });
    assert.match(image.id, PRIVATE_ID);
    assert.equal(image.requireSignedURLs, true);
    const url = variantUrl(image);
    const unsigned = await deliver(url);
    assert.equal(unsigned.status, 403);
    assert.match(unsigned.text, /^ERROR 9425: /);
    const { keys } = await v1.keys.list(me);
    assert.equal((await deliver(sign(url, keys[0].value))).status, 200);
    assert.equal((await deliver(sign(url, keys[0].value, 1))).status, 403);
    assert.equal((await deliver(sign(url, 'another'))).status, 403);
    assert.deepEqual(await blobOf(image.id), png());
  });

  test('10 MB are accepted and one byte more is not', async () => {
    const image = await create({ file: await file(png(3, 2, { bytes: TEN_MB })) });
    const blob = await v1.blobs.get(image.id, me);
    assert.equal(blob.headers.get('content-length'), `${TEN_MB}`);
    assert.equal((await blob.arrayBuffer()).byteLength, TEN_MB);
    await v1.delete(image.id, me);
    const larger = create({ file: await file(png(3, 2, { bytes: TEN_MB + 1 })) });
    await refused(larger, APIError, 413, 5413, /10 MB/);
  });

  test('12,000 pixels are accepted and one more is not', async () => {
    await create({ file: await file(png(12_000, 1)) });
    await refused(create({ file: await file(png(12_001, 1)) }), BadRequestError, 400, 5443);
  });

  test('1,024 bytes of metadata are accepted and one more is not', async () => {
    const asText = (bytes) => JSON.stringify(metadataOf(bytes));
    assert.deepEqual((await create({ metadata: asText(1024) })).meta, metadataOf(1024));
    await refused(create({ metadata: asText(1025) }), BadRequestError, 400, 5400, /1024/);
    assert.deepEqual((await create({ metadata: metadataOf(1024) })).meta, metadataOf(1024));
    await refused(create({ metadata: metadataOf(1025) }), BadRequestError, 400, 5400, /1024/);
  });

  test('refuses metadata that is no object', async () => {
    for (const metadata of ['[1]', '"text"', '{"a":', 'a=b']) {
      await refused(create({ metadata }), BadRequestError, 400, 5400, /metadata/);
    }
  });

  test('refuses a creator of more than 1,024 characters', async () => {
    assert.equal((await create({ creator: 'ö'.repeat(1024) })).creator.length, 1024);
    await refused(create({ creator: 'ö'.repeat(1025) }), BadRequestError, 400, 5400, /creator/);
  });

  test('refuses a custom id that is taken, and keeps the image that has it', async () => {
    const id = unique();
    await create({ id, metadata: { first: 'yes' } });
    await refused(create({ id, file: await file(png(9, 9)) }), ConflictError, 409, 5409, /already exists/);
    assert.deepEqual(await blobOf(id), png());
    assert.deepEqual((await v1.get(id, me)).meta, { first: 'yes' });
  });

  test('of four creates of one id at once, one wins', async () => {
    const id = unique();
    const trials = await Promise.allSettled(Array.from({ length: 4 }, () => create({ id })));
    const statuses = trials.map(({ reason }) => reason?.status ?? 200);
    assert.deepEqual(statuses.sort(), [200, 409, 409, 409]);
  });

  test('refuses bad custom ids', async () => {
    const bad = [
      ['058aae72-ae47-4a27-8f79-dd0ca9e87601', /Must not be UUID$/],
      ['058AAE72-AE47-4A27-8F79-DD0CA9E87601', /Must not be UUID$/],
      ['/leading', /The Custom ID is invalid/],
      ['trailing/', /The Custom ID is invalid/],
      ['x'.repeat(1025), /1024 characters/],
      ['manual.pdf', /Must not use a non-image file name extension$/],
      ['a/../b', /The Custom ID is invalid/],
    ];
    for (const [id, text] of bad) {
      await refused(create({ id }), BadRequestError, 400, 5411, text);
    }
  });

  test('refuses a private image with a custom id', async () => {
    const id = unique();
    await refused(create({ id, requireSignedURLs: true }), BadRequestError, 400, 5400, /custom ID/);
    await refused(v1.get(id, me), NotFoundError, 404, 5404);
  });

  test('refuses what is no picture, and damaged ones', async () => {
    const text = await file(Buffer.from('no picture at all'), 'a.png');
    await refused(create({ file: text }), APIError, 415, 5455, /image\/jpeg, image\/png/);
    await refused(create({ file: await file(Buffer.alloc(0), 'empty.png') }), APIError, 415, 5455);
    const cut = await file(png().subarray(0, 45), 'cut.png');
    await refused(create({ file: cut }), APIError, 415, 9422, /error during decoding/);
    await refused(create({ file: await file(JPEG.subarray(0, 640), 'cut.jpg') }), APIError, 415, 9422);
  });

  test('refuses neither file nor url, both at once, and a file sent as text', async () => {
    await refused(v1.create(me), BadRequestError, 400, 5400, /Error parsing form fields/);
    await refused(create({ url: 'http://127.0.0.1/a.png' }), BadRequestError, 400, 5400);
    await refused(v1.create({ ...me, file: 'text' }), APIError, 415, 5455);
  });

  test('refuses a body that is no form', async () => {
    const path = `/accounts/${account_id}/images/v1`;
    await refused(client.post(path, { body: { url: 'http://127.0.0.1/' } }), APIError, 415, 5415, /as a form/);
  });
});

describe('v1.create from a URL', () => {
  let from;
  before(async () => {
    from = await origin();
  });
  after(() => from.close());

  const fetched = (url, fields = {}) => v1.create({ ...me, url, ...fields });

  test('stores what the origin has, under the last part of the path', async () => {
    const id = unique();
    const image = await fetched(`${from.url}/pictures/a%20lake.png?size=full`, {
      id,
      metadata: { from: 'afar' },
      creator: id,
    });
    assert.equal(image.id, id);
    assert.equal(image.filename, 'a lake.png');
    assert.deepEqual(image.meta, { from: 'afar' });
    assert.equal(image.creator, id);
    assert.deepEqual(await blobOf(id), png(5, 4));
  });

  test('can be private, follows redirects, and sends the name and password of the URL', async () => {
    const moved = await fetched(`${from.url}/moved.png`, { requireSignedURLs: true });
    assert.match(moved.id, PRIVATE_ID);
    assert.deepEqual(await blobOf(moved.id), png(5, 4));
    const members = `${from.url}/members/cat.png`.replace('://', '://ann:s3cret@');
    assert.equal((await fetched(members)).filename, 'cat.png');
    await refused(fetched(`${from.url}/members/cat.png`), BadRequestError, 400, 5454, /401/);
  });

  test('refuses what cannot be fetched', async () => {
    await refused(fetched(`${from.url}/missing.png`), BadRequestError, 400, 5454, /404/);
    await refused(fetched(`${from.url}/broken`), BadRequestError, 400, 5454, /500/);
    await refused(fetched('ftp://127.0.0.1/a.png'), BadRequestError, 400, 5454, /Unsupported protocol/);
    await refused(fetched('no url'), BadRequestError, 400, 5454);
    const closed = await origin();
    await closed.close();
    await refused(fetched(`${closed.url}/a.png`), BadRequestError, 400, 5454);
  });

  test('refuses images of its own delivery host', async () => {
    const image = await create();
    await refused(fetched(variantUrl(image)), BadRequestError, 400, 5454);
    await refused(fetched('https://imagedelivery.net/hash/id/public'), BadRequestError, 400, 5454);
  });

  test('refuses what is no picture and what is too large, and a custom id that is taken', async () => {
    await refused(fetched(`${from.url}/page.html`), APIError, 415, 5455);
    await refused(fetched(`${from.url}/huge.png`), APIError, 413, 5413);
    const { id } = await create({ id: unique() });
    await refused(fetched(`${from.url}/moved.png`, { id }), ConflictError, 409, 5409);
  });
});

describe('v1.get', () => {
  test('answers what create answered', async () => {
    const image = await create({ metadata: { a: 'b' }, creator: unique() });
    assert.deepEqual(await v1.get(image.id, me), image);
  });

  test('finds custom ids whose slashes come raw, as older SDKs send them', async () => {
    const { id } = await create({ id: `${unique()}/b/c` });
    const { result } = await client.get(`/accounts/${account_id}/images/v1/${id}`);
    assert.equal(result.id, id);
  });

  test('refuses what does not exist', async () => {
    await refused(v1.get('058aae72-ae47-4a27-8f79-dd0ca9e87600', me), NotFoundError, 404, 5404, /Image not found/);
    await refused(v1.get('no/such image', me), NotFoundError, 404, 5404);
  });
});

describe('v1.edit', () => {
  test('replaces metadata and creator, and leaves the rest', async () => {
    const image = await create({ metadata: { a: '1', b: '2' }, creator: 'before' });
    const edited = await v1.edit(image.id, { ...me, metadata: { b: 3, c: { d: [true, null] } } });
    assert.deepEqual(edited, { ...image, meta: { b: 3, c: { d: [true, null] } } });
    const owned = await v1.edit(image.id, { ...me, creator: 'after' });
    assert.deepEqual(owned, { ...edited, creator: 'after' });
    const unowned = await v1.edit(image.id, { ...me, creator: '' });
    assert.equal(unowned.creator, undefined);
    assert.deepEqual(await v1.edit(image.id, me), unowned);
    assert.deepEqual(await v1.get(image.id, me), unowned);
  });

  test('a change of access changes the id, and back', async () => {
    const image = await create({ metadata: { kept: 'yes' } });
    assert.equal((await v1.edit(image.id, { ...me, requireSignedURLs: false })).id, image.id);
    const hidden = await v1.edit(image.id, { ...me, requireSignedURLs: true });
    assert.match(hidden.id, PRIVATE_ID);
    assert.equal(hidden.requireSignedURLs, true);
    assert.deepEqual(hidden.meta, { kept: 'yes' });
    assert.ok(variantUrl(hidden).includes(hidden.id));
    await refused(v1.get(image.id, me), NotFoundError, 404, 5404);
    assert.equal((await deliver(variantUrl(image))).status, 404);
    assert.equal((await deliver(variantUrl(hidden))).status, 403);
    const shown = await v1.edit(hidden.id, { ...me, requireSignedURLs: false });
    assert.match(shown.id, PUBLIC_ID);
    assert.equal((await deliver(variantUrl(shown))).status, 200);
    await refused(v1.get(hidden.id, me), NotFoundError, 404, 5404);
  });

  test('refuses to make an image with a custom id private', async () => {
    const image = await create({ id: unique() });
    const edit = v1.edit(image.id, { ...me, requireSignedURLs: true, metadata: { a: 'b' } });
    await refused(edit, BadRequestError, 400, 5400, /contains a custom ID and cannot be set to private/);
    assert.deepEqual(await v1.get(image.id, me), image);
  });

  test('refuses an unknown id, too much metadata, and values of another type', async () => {
    await refused(v1.edit('nobody', { ...me, metadata: {} }), NotFoundError, 404, 5404);
    const { id } = await create();
    assert.deepEqual((await v1.edit(id, { ...me, metadata: metadataOf(1024) })).meta, metadataOf(1024));
    await refused(v1.edit(id, { ...me, metadata: metadataOf(1025) }), BadRequestError, 400, 5400, /1024/);
    await refused(v1.edit(id, { ...me, metadata: 'text' }), BadRequestError, 400, 5400);
    await refused(v1.edit(id, { ...me, requireSignedURLs: 'yes' }), BadRequestError, 400, 5400);
    await refused(v1.edit(id, { ...me, creator: 'c'.repeat(1025) }), BadRequestError, 400, 5400, /creator/);
  });
});

describe('v1.delete', () => {
  test('answers an empty object, and nothing is left', async () => {
    const image = await create({ creator: unique() });
    assert.deepEqual(await v1.delete(image.id, me), {});
    await refused(v1.get(image.id, me), NotFoundError, 404, 5404);
    await refused(v1.blobs.get(image.id, me), NotFoundError, 404, 5404);
    assert.deepEqual((await v2.list({ ...me, creator: image.creator })).images, []);
    const gone = await deliver(variantUrl(image));
    assert.equal(gone.status, 404);
    assert.match(gone.text, /^ERROR 9431: /);
    await refused(v1.delete(image.id, me), NotFoundError, 404, 5404, /Image not found/);
  });

  test('frees a custom id', async () => {
    const id = unique();
    await create({ id });
    await v1.delete(id, me);
    await create({ id });
  });
});

describe('v1.list', () => {
  test('pages by number, newest first; the SDK itself finds nothing in the answer', async () => {
    const creator = unique();
    const made = [];
    for (let i = 0; i < 12; i++) made.unshift(await newer({ creator }));
    const first = await v1.list({ ...me, creator, per_page: 10 });
    assert.deepEqual(first.result.images, made.slice(0, 10));
    const second = await v1.list({ ...me, creator, per_page: 10, page: 2 });
    assert.deepEqual(second.result.images, made.slice(10));
    assert.deepEqual((await v1.list({ ...me, creator, per_page: 10, page: 3 })).result.images, []);
    // The SDK's page class looks for `items`. If there were any, it would request further pages.
    let requests = 0;
    const counting = connect({ fetch: (...args) => (requests++, fetch(...args)) });
    for await (const item of counting.images.v1.list({ ...me, creator })) assert.fail(JSON.stringify(item));
    assert.equal(requests, 1);
  });

  test('by creator, by having none, and without drafts', async () => {
    const creator = unique();
    const owned = await create({ creator });
    const unowned = await create();
    const draft = await v2.directUploads.create({ ...me, creator });
    assert.deepEqual((await v1.list({ ...me, creator })).result.images, [owned]);
    const found = ids((await v1.list({ ...me, creator: '' })).result.images);
    assert.ok(found.includes(unowned.id) && !found.includes(owned.id));
    assert.deepEqual((await v1.list({ ...me, creator: unique() })).result.images, []);
    const all = ids((await v1.list({ ...me, per_page: 10_000 })).result.images);
    assert.ok(all.includes(owned.id) && all.includes(unowned.id) && !all.includes(draft.id));
  });

  test('refuses bad pages', async () => {
    await refused(v1.list({ ...me, page: 0 }), BadRequestError, 400, 5400, /page/);
    await refused(v1.list({ ...me, per_page: 0 }), BadRequestError, 400, 5400, /per_page/);
    await refused(v1.list({ ...me, per_page: 9 }), BadRequestError, 400, 5400, /from 10 to 10000/);
    await refused(v1.list({ ...me, per_page: 10_001 }), BadRequestError, 400, 5400, /per_page/);
    await refused(v1.list({ ...me, per_page: 'many' }), BadRequestError, 400, 5400, /per_page/);
  });
});

/** Creates an image with a later upload time than all before it: times are stored in milliseconds. */
async function newer(fields) {
  await new Promise((resolve) => setTimeout(resolve, 3));
  return create(fields);
}

describe('v1.blobs', () => {
  test('gets the bytes as they came, with their type and length', async () => {
    const image = await create({ file: await file(JPEG, 'a.jpg', 'image/jpeg') });
    const blob = await v1.blobs.get(image.id, me);
    assert.equal(blob.status, 200);
    assert.equal(blob.headers.get('content-type'), 'image/jpeg');
    assert.equal(blob.headers.get('content-length'), `${JPEG.length}`);
    assert.deepEqual(Buffer.from(await blob.arrayBuffer()), JPEG);
  });

  test('refuses unknown ids and drafts', async () => {
    await refused(v1.blobs.get('nobody', me), NotFoundError, 404, 5404);
    const draft = await v2.directUploads.create(me);
    await refused(v1.blobs.get(draft.id, me), NotFoundError, 404, 5404);
  });
});

describe('v1.keys', () => {
  const valueOf = (answer, name) => answer.keys.find((key) => key.name === name)?.value;
  const names = (answer) => answer.keys.map((key) => key.name).sort();

  test('list, update and delete: two keys at most, rotation, and never none', async () => {
    const fresh = await v1.keys.list(me);
    assert.deepEqual(names(fresh), ['default']);
    assert.deepEqual(Object.keys(fresh.keys[0]), ['name', 'value']);
    const first = valueOf(fresh, 'default');
    assert.ok(first.length >= 32);
    const image = await create({ requireSignedURLs: true });
    const opens = async (key) => (await deliver(sign(variantUrl(image), key))).status === 200;
    assert.ok(await opens(first));

    const two = await v1.keys.update('second2', me);
    assert.deepEqual(names(two), ['default', 'second2']);
    assert.equal(valueOf(two, 'default'), first);
    assert.deepEqual(await v1.keys.list(me), two);
    const second = valueOf(two, 'second2');
    assert.notEqual(second, first);
    assert.ok((await opens(first)) && (await opens(second)));

    await refused(v1.keys.update('third', me), PermissionDeniedError, 403, 5453, /service limit/);
    assert.deepEqual(await v1.keys.list(me), two);

    const rotated = await v1.keys.update('default', me);
    assert.deepEqual(names(rotated), ['default', 'second2']);
    assert.notEqual(valueOf(rotated, 'default'), first);
    assert.equal(valueOf(rotated, 'second2'), second);
    assert.ok(!(await opens(first)) && (await opens(valueOf(rotated, 'default'))) && (await opens(second)));

    const one = await v1.keys.delete('second2', me);
    assert.deepEqual(one.keys, [{ name: 'default', value: valueOf(rotated, 'default') }]);
    assert.ok(!(await opens(second)));
    const anew = await v1.keys.delete('default', me);
    assert.deepEqual(names(anew), ['default']);
    assert.notEqual(valueOf(anew, 'default'), valueOf(one, 'default'));
    assert.deepEqual(await v1.keys.list(me), anew);
    assert.ok(!(await opens(valueOf(one, 'default'))) && (await opens(valueOf(anew, 'default'))));
  });

  test('refuses unknown and malformed names', async () => {
    await refused(v1.keys.delete('nobody', me), NotFoundError, 404, 5404);
    for (const name of ['not-alphanumeric', 'a b', 'ä', 'a/b']) {
      await refused(v1.keys.update(name, me), BadRequestError, 400, 5400, /alphanumeric/);
    }
  });
});

describe('v1.stats', () => {
  test('counts images, not drafts', async () => {
    const { count } = await v1.stats.get(me);
    assert.equal(count.allowed, 100_000);
    const image = await create();
    await v2.directUploads.create(me);
    assert.deepEqual(await v1.stats.get(me), { count: { ...count, current: count.current + 1 } });
    await v1.delete(image.id, me);
    assert.deepEqual(await v1.stats.get(me), { count });
  });
});

describe('v1.variants', () => {
  const options = { fit: 'cover', width: 40, height: 30, metadata: 'none' };
  const make = (id, fields = {}) => v1.variants.create({ ...me, id, options, ...fields });

  test('public is there from the start and stays', async () => {
    const standard = {
      id: 'public',
      options: { fit: 'scale-down', width: 1366, height: 768, metadata: 'none' },
      neverRequireSignedURLs: false,
    };
    assert.deepEqual(await v1.variants.get('public', me), { variant: standard });
    assert.deepEqual(await v1.variants.delete('public', me), {});
    assert.deepEqual((await v1.variants.list(me)).variants.public, standard);
    await refused(make('public'), ConflictError, 409, 5409);
  });

  test('create, get, list, edit, delete', async () => {
    const id = unique('hero');
    const variant = { id, options, neverRequireSignedURLs: false };
    assert.deepEqual(await make(id), { variant });
    assert.deepEqual(await v1.variants.get(id, me), { variant });
    const { variants } = await v1.variants.list(me);
    assert.deepEqual(variants[id], variant);
    const image = await create({ file: await file(png(80, 80)) });
    assert.deepEqual(image.variants, Object.keys(variants).sort().map((name) => variantUrl(image, name)));
    assert.deepEqual(sizeOf((await deliver(variantUrl(image, id))).bytes), [40, 30]);

    const smaller = { fit: 'scale-down', width: 20, height: 20, metadata: 'copyright' };
    const edited = await v1.variants.edit(id, { ...me, options: smaller, neverRequireSignedURLs: true });
    assert.deepEqual(edited, { variant: { id, options: smaller, neverRequireSignedURLs: true } });
    assert.deepEqual(sizeOf((await deliver(variantUrl(image, id))).bytes), [20, 20]);
    const again = await v1.variants.edit(id, { ...me, options });
    assert.deepEqual(again, { variant: { id, options, neverRequireSignedURLs: true } });
    assert.deepEqual(await v1.variants.get(id, me), again);
    const wider = await v1.variants.edit(id, { ...me, options: { width: 350, height: 350 } });
    assert.deepEqual(wider.variant.options, { ...options, width: 350, height: 350 });
    assert.equal(wider.variant.neverRequireSignedURLs, true);

    assert.deepEqual(await v1.variants.delete(id, me), {});
    await refused(v1.variants.get(id, me), NotFoundError, 404, 5401, /Variant not found/);
    assert.equal((await v1.variants.list(me)).variants[id], undefined);
    const gone = await deliver(variantUrl(image, id));
    assert.equal(gone.status, 403);
    assert.match(gone.text, /^ERROR 9425: .*variant with this name/);
    assert.deepEqual((await v1.get(image.id, me)).variants, image.variants.filter((url) => !url.endsWith(id)));
  });

  test('every fit has the size it promises', async () => {
    const image = await create({ file: await file(png(60, 40)) });
    const small = await create({ file: await file(png(12, 8)) });
    const sizes = {
      'scale-down': [[30, 20], [12, 8]],
      contain: [[30, 20], [30, 20]],
      cover: [[30, 30], [30, 30]],
      crop: [[30, 30], [12, 8]],
      pad: [[30, 30], [30, 30]],
    };
    for (const [fit, expected] of Object.entries(sizes)) {
      const id = unique('fit');
      await make(id, { options: { fit, width: 30, height: 30, metadata: 'keep' } });
      const found = [];
      for (const { id: of } of [image, small]) {
        found.push(sizeOf((await deliver(variantUrl(await v1.get(of, me), id))).bytes));
      }
      assert.deepEqual(found, expected, fit);
      await v1.variants.delete(id, me);
    }
  });

  test('a variant that never requires signatures shows private images', async () => {
    const id = unique('open');
    await make(id, { neverRequireSignedURLs: true });
    const image = await create({ requireSignedURLs: true });
    assert.equal((await deliver(variantUrl(image, id))).status, 200);
    assert.equal((await deliver(variantUrl(image))).status, 403);
    await v1.variants.edit(id, { ...me, options, neverRequireSignedURLs: false });
    assert.equal((await deliver(variantUrl(image, id))).status, 403);
    await v1.variants.delete(id, me);
  });

  test('refuses duplicates and bad names', async () => {
    const id = unique('dup');
    await make(id);
    await refused(make(id), ConflictError, 409, 5409, /already exists/);
    await v1.variants.delete(id, me);
    for (const bad of ['with-hyphen', 'with_underscore', 'with space', 'ä', '', 'x'.repeat(100)]) {
      await refused(make(bad), BadRequestError, 400, 5400, /variant name/);
    }
    const longest = 'x'.repeat(99);
    await make(longest);
    await v1.variants.delete(longest, me);
  });

  test('refuses bad options, on create and on edit', async () => {
    const id = unique('bad');
    await make(id);
    const bad = [
      [{ ...options, fit: 'squeeze' }, /squeeze/],
      [{ ...options, metadata: 'all' }, /all/],
      [{ ...options, width: 0 }, /width/],
      [{ ...options, height: 10_000 }, /height/],
      [{ ...options, width: 'wide' }, /wide/],
      [{ ...options, sharpen: 3 }, /sharpen/],
      [undefined, /missing field `options`/],
    ];
    for (const [wrong, text] of bad) {
      await refused(make(unique('bad'), { options: wrong }), BadRequestError, 400, 5400, text);
      if (wrong) {
        await refused(v1.variants.edit(id, { ...me, options: wrong }), BadRequestError, 400, 5400, text);
      }
    }
    assert.deepEqual((await v1.variants.get(id, me)).variant.options, options);
    await v1.variants.delete(id, me);
  });

  test('refuses unknown names', async () => {
    await refused(v1.variants.get('nobody', me), NotFoundError, 404, 5401);
    await refused(v1.variants.edit('nobody', { ...me, options }), NotFoundError, 404, 5401);
    await refused(v1.variants.delete('nobody', me), NotFoundError, 404, 5401);
  });

  test('refuses the 101st', async () => {
    const there = Object.keys((await v1.variants.list(me)).variants).length;
    const made = Array.from({ length: 100 - there }, () => unique('many'));
    for (const id of made) await make(id);
    await refused(make(unique('many')), PermissionDeniedError, 403, 5453, /service limit/);
    for (const id of made) await v1.variants.delete(id, me);
    assert.equal(Object.keys((await v1.variants.list(me)).variants).length, there);
  });
});

describe('v2.list', () => {
  const creator = unique();
  let made;
  before(async () => {
    const metadata = [
      { status: 'active', priority: 1, enabled: true, region: { name: 'eu-west' }, tag: 'a b' },
      { status: 'active', priority: 2.5, enabled: false, region: { name: 'us-east' } },
      { status: 'deleted', priority: 10, l1: { l2: { l3: { l4: { l5: 'deep' } } } } },
      { status: 'true', priority: '5' },
      undefined,
    ];
    made = [];
    for (const one of metadata) made.push(await newer({ creator, metadata: one && JSON.stringify(one) }));
  });

  const list = (params = {}) => v2.list({ ...me, creator, sort_order: 'asc', ...params });

  /** Indices of the images that a filter finds, in the order of their creation. */
  async function matching(meta, params = {}) {
    const { images } = await list({ meta, ...params });
    return images.map((image) => made.findIndex(({ id }) => id === image.id));
  }

  test('whole, by upload time, newest first unless asked otherwise', async () => {
    assert.deepEqual(await list(), { images: made, continuation_token: null });
    assert.deepEqual(ids((await v2.list({ ...me, creator })).images), ids(made).reverse());
    assert.deepEqual(ids((await list({ sort_order: 'desc' })).images), ids(made).reverse());
  });

  test('pages by continuation token, in both orders', async () => {
    for (const sort_order of ['asc', 'desc']) {
      const found = [];
      const sizes = [];
      let continuation_token = null;
      do {
        const page = await list({ sort_order, per_page: 2, continuation_token });
        found.push(...ids(page.images));
        sizes.push(page.images.length);
        continuation_token = page.continuation_token;
      } while (continuation_token !== null && sizes.length < 5);
      assert.deepEqual(sizes, [2, 2, 1]);
      assert.deepEqual(found, sort_order === 'asc' ? ids(made) : ids(made).reverse());
    }
    assert.equal((await list({ per_page: 5 })).continuation_token, null);
  });

  test('a page stays where it is when images come and go', async () => {
    const owner = unique();
    const three = [];
    for (let i = 0; i < 3; i++) three.push(await newer({ creator: owner }));
    const first = await v2.list({ ...me, creator: owner, per_page: 2 });
    assert.deepEqual(ids(first.images), [three[2].id, three[1].id]);
    await v1.delete(three[1].id, me);
    await newer({ creator: owner });
    const { continuation_token } = first;
    const second = await v2.list({ ...me, creator: owner, per_page: 2, continuation_token });
    assert.deepEqual(ids(second.images), [three[0].id]);
  });

  test('refuses tokens of other lists and no tokens at all', async () => {
    const { continuation_token } = await list({ per_page: 2 });
    const bad = /continuation_token/;
    await refused(list({ sort_order: 'desc', continuation_token }), BadRequestError, 400, 5400, bad);
    await refused(list({ meta: { 'status[eq]': 'active' }, continuation_token }), BadRequestError, 400, 5400, bad);
    await refused(v2.list({ ...me, continuation_token }), BadRequestError, 400, 5400, bad);
    await refused(list({ continuation_token: 'nonsense' }), BadRequestError, 400, 5400, bad);
  });

  test('by creator, and by having none', async () => {
    const unowned = await create();
    const found = ids((await v2.list({ ...me, creator: '', per_page: 1000 })).images);
    assert.ok(found.includes(unowned.id));
    assert.ok(!found.includes(made[0].id));
    assert.deepEqual((await v2.list({ ...me, creator: unique() })).images, []);
  });

  test('drafts are not listed', async () => {
    const owner = unique();
    const draft = await v2.directUploads.create({ ...me, creator: owner });
    assert.deepEqual((await v2.list({ ...me, creator: owner })).images, []);
    await upload(draft.uploadURL);
    assert.deepEqual(ids((await v2.list({ ...me, creator: owner })).images), [draft.id]);
  });

  test('every metadata operator', async () => {
    const cases = [
      [{ 'status[eq]': 'active' }, [0, 1]],
      [{ 'status[eq:string]': 'active' }, [0, 1]],
      [{ 'status[eq:string]': 'true' }, [3]],
      [{ 'tag[eq]': 'a b' }, [0]],
      [{ 'enabled[eq:boolean]': 'true' }, [0]],
      [{ 'enabled[eq:boolean]': 'false' }, [1]],
      [{ 'status[eq:boolean]': 'true' }, []],
      [{ 'priority[eq:number]': '10' }, [2]],
      [{ 'priority[eq:number]': '2.50' }, [1]],
      [{ 'priority[eq:number]': '5' }, []],
      [{ 'priority[eq:string]': '5' }, [3]],
      [{ 'priority[eq:string]': '10' }, []],
      [{ 'status[in]': 'deleted|true|gone' }, [2, 3]],
      [{ 'status[in:string]': 'active|deleted' }, [0, 1, 2]],
      [{ 'priority[in:number]': '1|10|11' }, [0, 2]],
      [{ 'priority[gt]': '1' }, [1, 2]],
      [{ 'priority[gt:number]': '2.5' }, [2]],
      [{ 'priority[gte]': '2.5' }, [1, 2]],
      [{ 'priority[gte:number]': '1' }, [0, 1, 2]],
      [{ 'priority[lt]': '10' }, [0, 1]],
      [{ 'priority[lt:number]': '1' }, []],
      [{ 'priority[lte]': '1' }, [0]],
      [{ 'priority[lte:number]': '2.5' }, [0, 1]],
      [{ 'region.name[eq]': 'us-east' }, [1]],
      [{ region: { 'name[in]': 'us-east|eu-west' } }, [0, 1]],
      [{ 'l1.l2.l3.l4.l5[eq]': 'deep' }, [2]],
      [{ 'absent[eq]': 'x' }, []],
      [{ 'status[in]': 'a|b|c|d|e|f|g|h|i|deleted' }, [2]],
    ];
    for (const [meta, expected] of cases) {
      assert.deepEqual(await matching(meta), expected, JSON.stringify(meta));
    }
  });

  test('filters hold together, and page', async () => {
    assert.deepEqual(await matching({ 'status[eq]': 'active', 'priority[gt]': '1' }), [1]);
    assert.deepEqual(await matching({ 'priority[gte:number]': '2', 'priority[lte:number]': '9' }), [1]);
    assert.deepEqual(await matching({ 'priority[eq:number]': '5', 'priority[lte:number]': '3' }), []);
    const five = {
      'status[eq]': 'active',
      'priority[gt]': '0',
      'priority[lt]': '2',
      'enabled[eq:boolean]': 'true',
      'region.name[eq]': 'eu-west',
    };
    assert.deepEqual(await matching(five), [0]);
    const meta = { 'status[eq]': 'active' };
    const { continuation_token } = await list({ meta, per_page: 1 });
    assert.deepEqual(await matching(meta, { per_page: 1, continuation_token }), [1]);
  });

  test('refuses a sixth filter, a sixth level, an eleventh value', async () => {
    const six = Object.fromEntries([1, 2, 3, 4, 5, 6].map((n) => [`f${n}[eq]`, 'x']));
    await refused(list({ meta: six }), BadRequestError, 400, 5400, /5/);
    await refused(list({ meta: { 'a.b.c.d.e.f[eq]': 'x' } }), BadRequestError, 400, 5400, /5/);
    const eleven = Array.from({ length: 11 }, (_, n) => n).join('|');
    for (const operator of ['in', 'in:string', 'in:number']) {
      await refused(list({ meta: { [`a[${operator}]`]: eleven } }), BadRequestError, 400, 5400, /10/);
    }
  });

  test('refuses bad fields, operators and values', async () => {
    const bad = [
      { 'status[ne]': 'active' },
      { 'status[eq:date]': 'active' },
      { 'status[gt:string]': 'a' },
      { status: 'active' },
      { 'a..b[eq]': 'x' },
      { 'a"b[eq]': 'x' },
      { 'a[b[eq]': 'x' },
      { 'priority[gt]': 'many' },
      { 'priority[eq:number]': 'NaN' },
      { 'priority[in:number]': '1|two' },
      { 'enabled[eq:boolean]': 'yes' },
      { [`${'x'.repeat(101)}[eq]`]: 'x' },
    ];
    for (const meta of bad) await refused(list({ meta }), BadRequestError, 400, 5400);
  });

  test('filters by fields of any name', async () => {
    for (const name of ['user-id', 'user id', 'größe', "it's", 'a/b']) {
      const image = await create({ metadata: JSON.stringify({ [name]: { 'in-side': name } }) });
      const found = (await v2.list({ ...me, meta: { [name]: { 'in-side[eq]': name } } })).images;
      assert.deepEqual(ids(found), [image.id], name);
      await v1.delete(image.id, me);
    }
  });

  test('refuses bad page sizes and orders', async () => {
    await refused(list({ per_page: 0 }), BadRequestError, 400, 5400, /per_page/);
    await refused(list({ per_page: 1001 }), BadRequestError, 400, 5400, /from 1 to 1000/);
    await refused(list({ sort_order: 'random' }), BadRequestError, 400, 5400, /sort_order/);
    assert.equal((await list({ per_page: 1 })).images.length, 1);
    assert.equal((await list({ per_page: 1000 })).images.length, 5);
  });
});

describe('v2.directUploads', () => {
  const direct = (fields = {}) => v2.directUploads.create({ ...me, ...fields });

  test('without a word about the image: draft, upload, image', async () => {
    const made = await direct();
    assert.deepEqual(Object.keys(made), ['id', 'uploadURL']);
    assert.match(made.id, PUBLIC_ID);
    assert.match(made.uploadURL, new RegExp(`/upload/[\\w-]{22}/${made.id}$`));

    const { uploaded, variants, ...draft } = await v1.get(made.id, me);
    assert.deepEqual(draft, { id: made.id, filename: null, requireSignedURLs: false, draft: true });
    assert.match(uploaded, /Z$/);
    assert.equal((await deliver(variants[0])).status, 404);

    const answer = await upload(made.uploadURL, png(7, 5), { name: 'süß.png' });
    assert.equal(answer.status, 200);
    assert.deepEqual([answer.success, answer.errors, answer.messages], [true, [], []]);
    assert.equal(answer.headers.get('access-control-allow-origin'), '*');
    assert.deepEqual(answer.result, await v1.get(made.id, me));
    assert.equal(answer.result.filename, 'süß.png');
    assert.equal('draft' in answer.result, false);
    assert.deepEqual(await blobOf(made.id), png(7, 5));
    assert.equal((await deliver(variantUrl(answer.result))).status, 200);
  });

  test('with everything said about it', async () => {
    const id = `${unique()}/täg 100%.png`;
    const made = await direct({
      id,
      creator: 'ann',
      metadata: { a: 'x', b: { c: 'y' }, d: ['p', 'q'] },
      expiry: soon(10),
      requireSignedURLs: false,
    });
    assert.equal(made.id, id);
    const { result } = await upload(made.uploadURL);
    assert.equal(result.id, id);
    assert.equal(result.creator, 'ann');
    assert.deepEqual(result.meta, { a: 'x', b: { c: 'y' }, d: ['p', 'q'] });
    assert.equal((await v1.get(id, me)).filename, 'mine.png');
  });

  test('a private one', async () => {
    const made = await direct({ requireSignedURLs: true, metadata: JSON.stringify({ n: 1 }) });
    assert.match(made.id, PRIVATE_ID);
    const { result } = await upload(made.uploadURL);
    assert.equal(result.requireSignedURLs, true);
    assert.deepEqual(result.meta, { n: 1 });
    assert.equal((await deliver(variantUrl(result))).status, 403);
  });

  test('an upload URL works once', async () => {
    const made = await direct();
    assert.equal((await upload(made.uploadURL)).status, 200);
    const again = await upload(made.uploadURL, png(9, 9));
    assert.equal(again.status, 409);
    assert.deepEqual([again.success, again.result, again.errors[0].code], [false, null, 5409]);
    assert.deepEqual(await blobOf(made.id), png());
  });

  test('of two uploads at once, one wins', async () => {
    const made = await direct();
    const answers = await Promise.all([upload(made.uploadURL), upload(made.uploadURL)]);
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 409]);
  });

  test('a refused upload leaves the URL open', async () => {
    const made = await direct();
    const trials = [
      [Buffer.from('no picture'), {}, 415, 5455],
      [png().subarray(0, 45), {}, 415, 9422],
      [png(3, 2, { bytes: TEN_MB + 1 }), {}, 413, 5413],
      [png(), { part: 'picture' }, 400, 5400],
    ];
    for (const [bytes, how, status, code] of trials) {
      const answer = await upload(made.uploadURL, bytes, how);
      assert.deepEqual([answer.status, answer.success, answer.errors[0].code], [status, false, code]);
      assert.equal((await v1.get(made.id, me)).draft, true);
    }
    const raw = await fetch(made.uploadURL, { method: 'POST', body: png() });
    assert.deepEqual([raw.status, (await raw.json()).errors[0].code], [415, 5415]);
    assert.equal((await upload(made.uploadURL)).status, 200);
  });

  test('browsers of any site may upload', async () => {
    const made = await direct();
    const preflight = await fetch(made.uploadURL, {
      method: 'OPTIONS',
      headers: { origin: 'https://shop.example', 'access-control-request-method': 'POST' },
    });
    assert.ok(preflight.ok);
    assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
    assert.match(preflight.headers.get('access-control-allow-methods'), /POST/);
  });

  test('a deleted draft and a URL nobody made take nothing', async () => {
    const made = await direct();
    assert.deepEqual(await v1.delete(made.id, me), {});
    await refused(v1.get(made.id, me), NotFoundError, 404, 5404);
    assert.equal((await upload(made.uploadURL)).status, 404);
    const url = (await direct()).uploadURL;
    const other = url.replace(/upload\/[\w-]{22}/, `upload/${'A'.repeat(22)}`);
    assert.deepEqual([(await upload(other)).status, (await upload(url)).status], [403, 200]);
  });

  test('expiry: two minutes to six hours ahead', async () => {
    for (const minutes of [2, 30, 6 * 60]) await direct({ expiry: soon(minutes) });
    for (const minutes of [-60, 0, 1, 6 * 60 + 1, 24 * 60]) {
      await refused(direct({ expiry: soon(minutes) }), BadRequestError, 400, 5400, /expiry/);
    }
    for (const expiry of ['tomorrow', '2026-01-01', `${Date.now() + 600_000}`]) {
      await refused(direct({ expiry }), BadRequestError, 400, 5400, /expiry/);
    }
  });

  test('refuses ids that are taken, by images and by drafts, and drafts take theirs', async () => {
    const { id } = await create({ id: unique() });
    await refused(direct({ id }), ConflictError, 409, 5409, /already exists/);
    const draft = await direct({ id: unique() });
    await refused(direct({ id: draft.id }), ConflictError, 409, 5409);
    await refused(create({ id: draft.id }), ConflictError, 409, 5409);
  });

  test('refuses bad custom ids, private ones, and too much metadata', async () => {
    await refused(direct({ id: '058aae72-ae47-4a27-8f79-dd0ca9e87600' }), BadRequestError, 400, 5411, /UUID/);
    await refused(direct({ id: '/a' }), BadRequestError, 400, 5411);
    await refused(direct({ id: 'x'.repeat(1025) }), BadRequestError, 400, 5411);
    await refused(direct({ id: unique(), requireSignedURLs: true }), BadRequestError, 400, 5400, /custom ID/);
    await refused(direct({ metadata: metadataOf(1025) }), BadRequestError, 400, 5400, /1024/);
    await refused(direct({ requireSignedURLs: 'maybe' }), BadRequestError, 400, 5400);
  });
});

describe('credentials', () => {
  /** One call of every method, with a client and an account that may be wrong. */
  const everyCall = async ({ images: { v1, v2 } }, who) => [
    () => v1.list(who),
    async () => v1.create({ ...who, file: await file() }),
    () => v1.get('x', who),
    () => v1.edit('x', { ...who, metadata: {} }),
    () => v1.delete('x', who),
    () => v1.blobs.get('x', who),
    () => v1.keys.list(who),
    () => v1.keys.update('x', who),
    () => v1.keys.delete('x', who),
    () => v1.stats.get(who),
    () => v1.variants.list(who),
    () => v1.variants.create({ ...who, id: 'x', options: {} }),
    () => v1.variants.get('x', who),
    () => v1.variants.edit('x', { ...who, options: {} }),
    () => v1.variants.delete('x', who),
    () => v2.list(who),
    () => v2.directUploads.create(who),
  ];

  test('every call refuses a wrong token', async () => {
    const stranger = connect({ apiToken: 'wrong' });
    const calls = await everyCall(stranger, me);
    assert.equal(calls.length, methods.length);
    for (const call of calls) await refused(call(), AuthenticationError, 401, 10000, /Authentication error/);
  });

  test('a token that reads is refused every change', async () => {
    const id = unique('read');
    await create({ id });
    const reader = connect({ apiToken: process.env.READ_TOKEN });
    const { v1, v2 } = reader.images;
    assert.equal((await v1.get(id, me)).id, id);
    for (const read of [v1.list(me), v2.list(me), v1.keys.list(me), v1.stats.get(me), v1.variants.list(me)]) await read;
    assert.ok((await (await v1.blobs.get(id, me)).arrayBuffer()).byteLength > 0);
    for (const change of [
      async () => v1.create({ ...me, file: await file() }),
      () => v1.edit(id, { ...me, metadata: {} }),
      () => v1.delete(id, me),
      () => v1.keys.update('x', me),
      () => v1.keys.delete('default', me),
      () => v1.variants.create({ ...me, id: 'x', options: {} }),
      () => v1.variants.edit('public', { ...me, options: {} }),
      () => v1.variants.delete('public', me),
      () => v2.directUploads.create(me),
    ]) {
      await refused(change(), PermissionDeniedError, 403, 10000, /Authentication error/);
    }
    await client.images.v1.delete(id, me);
  });

  test('errors point to what they are about, and to a page that says more', async () => {
    await assert.rejects(create({ id: 'a.txt' }), ({ errors: [error] }) => {
      assert.equal(error.source.pointer, '/id');
      assert.match(error.documentation_url, /^https:\/\/developers\.cloudflare\.com\//);
      return true;
    });
  });

  test('every call refuses another account', async () => {
    for (const call of await everyCall(connect(), { account_id: 'f'.repeat(32) })) {
      await refused(call(), PermissionDeniedError, 403, 5403, /not valid or is not authorized/);
    }
  });

  test('e-mail and key are as good as a token', async () => {
    const apiKey = process.env.CLOUDFLARE_API_TOKEN;
    const owner = connect({ apiToken: null, apiEmail: 'ann@example.com', apiKey });
    assert.ok((await owner.images.v1.stats.get(me)).count);
    const stranger = connect({ apiToken: null, apiEmail: 'ann@example.com', apiKey: 'wrong' });
    await refused(stranger.images.v1.stats.get(me), AuthenticationError, 401, 10000);
  });
});

describe('retries of the SDK', () => {
  /** A client with the default retries. `lose` selects the responses that do not reach it. */
  function persistent(lose = () => false) {
    const log = [];
    const patient = connect({
      maxRetries: 2,
      fetch: async (url, init) => {
        const answer = await fetch(url, init);
        // The SDK tests the `fetch` that it is given with a URL that does not exist.
        if (!`${url}`.startsWith('http')) return answer;
        log.push(answer.status);
        if (lose(log.length)) {
          await answer.body.cancel();
          throw new TypeError('fetch failed');
        }
        return answer;
      },
    });
    return { log, ...patient.images };
  }

  test('a conflict is tried three times and leaves nothing behind', async () => {
    const { id } = await create({ id: unique() });
    const before = await v1.stats.get(me);
    const { v1: patient, log } = persistent();
    await refused(patient.create({ ...me, id, file: await file() }), ConflictError, 409, 5409);
    assert.deepEqual(log, [409, 409, 409]);
    assert.deepEqual(await v1.stats.get(me), before);
  });

  test('other refusals are tried once', async () => {
    const { v1: patient, log } = persistent();
    await refused(patient.get('nobody', me), NotFoundError, 404, 5404);
    await refused(patient.create({ ...me, id: '/', file: await file() }), BadRequestError, 400, 5411);
    assert.deepEqual(log, [404, 400]);
  });

  test('when the answer of a create is lost, a custom id keeps the retry from making a second image', async () => {
    const id = unique();
    const before = (await v1.stats.get(me)).count.current;
    const { v1: patient, log } = persistent((request) => request === 1);
    await refused(patient.create({ ...me, id, file: await file() }), ConflictError, 409, 5409);
    assert.deepEqual(log, [200, 409, 409]);
    assert.equal((await v1.stats.get(me)).count.current, before + 1);
    assert.deepEqual(await blobOf(id), png());
  });

  test('when the answer of a read or an edit is lost, the retry gets it', async () => {
    const image = await create();
    const { v1: patient, log } = persistent((request) => request % 2 === 1);
    assert.deepEqual(await patient.get(image.id, me), image);
    assert.deepEqual((await patient.edit(image.id, { ...me, metadata: { a: 1 } })).meta, { a: 1 });
    assert.deepEqual(log, [200, 200, 200, 200]);
  });
});

test('no method of the SDK was left out', () => {
  assert.deepEqual([...called].sort(), methods.map(([, , path]) => path).sort());
});
