// What the tests of both clients do the same way.

import assert from 'node:assert/strict';

import { png } from '../pictures.mjs';
import { startServer } from '../server.mjs';

export type Server = Awaited<ReturnType<typeof startServer>>;

export function picture(name: string, width: number, height: number): File {
  return new File([new Uint8Array(png(width, height, [width, 90, height]))], name, { type: 'image/png' });
}

/** Follows a cursor until the list ends; answers all pages in the order they came. */
export async function pages<Page>(
  load: (cursor: string | null) => Promise<Page>,
  next: (page: Page) => string | null,
): Promise<Page[]> {
  const found: Page[] = [];
  let cursor: string | null = null;
  do {
    const page: Page = await load(cursor);
    found.push(page);
    cursor = next(page);
    assert.ok(found.length < 50, 'the list does not end');
  } while (cursor !== null);
  return found;
}
