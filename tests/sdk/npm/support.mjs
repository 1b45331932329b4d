// Generated images, a web server that has them, and assertions that several tests share.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import * as zlib from 'node:zlib';
import Cloudflare, { toFile } from 'cloudflare';

export const account_id = process.env.CLOUDFLARE_ACCOUNT_ID;

// The suite deletes images and replaces keys, so it must not run on a real account.
const baseURL = new URL(process.env.CLOUDFLARE_BASE_URL ?? 'unset:');
assert.equal(baseURL.hostname, '127.0.0.1', 'CLOUDFLARE_BASE_URL must be an emulator on 127.0.0.1');

/** A client that reads token and base URL from the environment, as in the SDK's examples, and does not retry. */
export function connect(options = {}) {
  return new Cloudflare({ maxRetries: 0, timeout: 20_000, ...options });
}

/** Text that no other test uses. */
export const unique = (prefix = 'npm') => `${prefix}${++counter}x${Date.now().toString(36)}`;
let counter = 0;

/** A grey PNG; with `bytes`, it has that size, through a chunk that decoders skip. */
export function png(width = 3, height = 2, { bytes, shade = 128 } = {}) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 0, 0, 0, 0], 8);
  const row = Buffer.alloc(width + 1, shade);
  row[0] = 0;
  const rows = zlib.deflateSync(Buffer.concat(Array(height).fill(row)));
  const chunks = [
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', rows),
    chunk('IEND', Buffer.alloc(0)),
  ];
  if (bytes) {
    const size = chunks.reduce((sum, part) => sum + part.length, 0);
    chunks.splice(2, 0, chunk('fiLl', Buffer.alloc(bytes - size - 12)));
  }
  return Buffer.concat(chunks);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

// Node.js has it since 20.15.
const crc32 = zlib.crc32 ?? ((bytes) => {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
});

/** 16 by 12 pixels. */
export const JPEG = Buffer.from(
  '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO' +
    'UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P' +
    'T09PT09PT0//wAARCAAMABADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF' +
    'BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW' +
    'V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi' +
    '4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAEC' +
    'AxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVm' +
    'Z2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq' +
    '8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDmbbSuny1r22ldPlratraLj5a1ra2i4+WuSvjpGeV5jPQ//9k=',
  'base64',
);
/** 16 by 12 pixels, lossless. */
export const WEBP = Buffer.from('UklGRioAAABXRUJQVlA4TB4AAAAvD8ACALmM6H/sIqL/ASEBYYT/dzV5HkYrJgCpyi4=', 'base64');
/** 1 by 1 pixel. */
export const GIF = Buffer.from('R0lGODlhAQABAPAAAMgoKP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==', 'base64');
export const SVG = Buffer.from(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3"/></svg>',
);

/** Width and height of a PNG. */
export function sizeOf(bytes) {
  assert.equal(bytes.toString('latin1', 1, 4), 'PNG');
  return [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
}

export const file = (bytes = png(), name = 'tiny.png', type = 'image/png') => toFile(bytes, name, { type });

/** Asserts that a call fails with that class, status and code, in Cloudflare's envelope. */
export async function refused(call, kind, status, code, text) {
  await assert.rejects(
    async () => call,
    (error) => {
      assert.equal(error.constructor, kind, `${error}`);
      assert.equal(error.status, status);
      assert.equal(error.errors.length, 1);
      assert.equal(error.errors[0].code, code, error.errors[0].message);
      if (text) assert.match(error.errors[0].message, text);
      const { errors, ...rest } = error.error;
      assert.deepEqual(rest, { result: null, success: false, messages: [] });
      assert.match(error.headers.get('content-type'), /^application\/json/);
      return true;
    },
  );
}

/** The response of the delivery host: status, type, bytes. Redirects are not expected. */
export async function deliver(url, accept = 'image/png,image/*') {
  const answer = await fetch(url, { headers: { accept }, redirect: 'error' });
  const bytes = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, type: answer.headers.get('content-type'), bytes, text: bytes.toString('latin1') };
}

/** Signs a delivery URL as Cloudflare documents it. */
export function sign(url, key, expires = Math.floor(Date.now() / 1000) + 600) {
  const signed = new URL(url);
  signed.searchParams.set('exp', `${expires}`);
  const message = signed.pathname + '?' + signed.searchParams.toString();
  signed.searchParams.set('sig', createHmac('sha256', key).update(message).digest('hex'));
  return signed.href;
}

/** A web server on loopback with images, and with URLs that fail. */
export async function origin() {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://origin');
    const answer = (status, headers = {}, body = '') => response.writeHead(status, headers).end(body);
    switch (pathname) {
      case '/pictures/a%20lake.png':
        return answer(200, { 'content-type': 'image/png' }, png(5, 4));
      case '/moved.png':
        return answer(302, { location: '/pictures/a%20lake.png' });
      case '/members/cat.png':
        return request.headers.authorization === `Basic ${btoa('ann:s3cret')}`
          ? answer(200, { 'content-type': 'image/png' }, png())
          : answer(401, { 'www-authenticate': 'Basic' });
      case '/page.html':
        return answer(200, { 'content-type': 'text/html' }, '<!doctype html><p>No picture.');
      case '/huge.png':
        return answer(200, { 'content-type': 'image/png' }, png(3, 2, { bytes: 10 * 1024 * 1024 + 1 }));
      case '/broken':
        return answer(500);
      default:
        return answer(404);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}

/** Every method of the resources below `images`, as `v1.keys.update`. */
export function methodsOf(resource, path = []) {
  const names = [];
  let type = Object.getPrototypeOf(resource);
  for (; type && type !== Object.prototype; type = Object.getPrototypeOf(type)) {
    names.push(...Object.getOwnPropertyNames(type).filter((name) => name !== 'constructor'));
  }
  const own = names
    .filter((name) => typeof resource[name] === 'function')
    .map((name) => [resource, name, [...path, name].join('.')]);
  const below = Object.entries(resource)
    .filter(([name, value]) => name !== '_client' && value && typeof value === 'object')
    .flatMap(([name, value]) => methodsOf(value, [...path, name]));
  return [...own, ...below];
}
