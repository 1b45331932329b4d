// The GraphiQL page in a real browser, opened with the address that a first start prints.

import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { apollo, upload } from './apollo.mjs';
import { findChromium, launch } from './chromium.mjs';
import { jpeg } from './pictures.mjs';
import { startServer } from './server.mjs';

const SAMPLES = ['WhoAmI', 'GalleryPage', 'Files', 'AssetEvents', 'CreateDirectUpload', 'CompleteDirectUpload', 'DeleteImage'];

const executable = findChromium();
const missing = 'Chromium was not found: install it, or name it in CHROMIUM.';
const skip = executable || process.env.CI === 'true' ? false : `not run: ${missing}`;

test('GraphiQL in Chromium', { skip }, async t => {
  assert.ok(executable, missing);
  const server = await startServer();
  t.after(() => server.stop());
  const browser = await launch(executable);
  t.after(() => browser.close());
  const screenshots = await mkdtemp(join(tmpdir(), 'imagegraph-screenshots-'));

  const photo = new File([jpeg(640, 480, { orientation: 1, make: 'Tiny Cameras' })], 'photo.jpg');
  const { file, userErrors } = await upload(apollo(server), server.workspace, photo);
  assert.deepEqual(userErrors, []);

  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const seen = watch(page);
  await page.goto(server.page);
  const session = page.locator('#session');

  await t.test('the printed address signs in, and leaves the address bar', async () => {
    await session.getByText('signed in as Admin (ADMIN)').waitFor();
    assert.equal(page.url(), `${server.origin}/`);
    assert.equal(await page.evaluate(() => location.href), `${server.origin}/`);
  });

  await t.test('the samples are the tabs', async () => {
    const tabs = page.getByRole('tab');
    await tabs.first().waitFor();
    assert.deepEqual(await tabs.locator('.graphiql-tab-button').allInnerTexts(), SAMPLES);
  });

  const first = { workspaceId: server.workspace, imageId: file.image.id };
  await t.test('WhoAmI', async () => {
    const { viewer } = await runTab(page, 'WhoAmI');
    assert.equal(viewer.user.role, 'ADMIN');
    assert.deepEqual(viewer.workspaces.nodes.map(workspace => workspace.id), [first.workspaceId]);
  });

  await t.test('GalleryPage', async () => {
    const { images } = await runTab(page, 'GalleryPage');
    assert.equal(images.totalCount, 1);
    const [image] = images.nodes;
    assert.equal(image.id, first.imageId);
    assert.equal(image.rendition.width, 640);
    await page.screenshot({ path: join(screenshots, 'gallery.png') });

    // The URL opens in a browser, without a token.
    const view = await browser.newPage();
    const opened = await view.goto(image.url);
    assert.equal(opened.status(), 200);
    const size = await view.locator('img').evaluate(img => [img.naturalWidth, img.naturalHeight]);
    assert.deepEqual(size, [640, 480]);
    await view.close();
  });

  await t.test('Files', async () => {
    const { files } = await runTab(page, 'Files');
    assert.deepEqual(files.nodes.map(node => [node.id, node.image.id]), [[file.id, first.imageId]]);
  });

  await t.test('AssetEvents shows what happens while it runs', async () => {
    await page.locator('.graphiql-tab-button', { hasText: /^AssetEvents$/ }).click();
    await page.locator('.graphiql-tab-active', { hasText: 'AssetEvents' }).waitFor();
    await page.waitForTimeout(500);
    await page.getByRole('button', { name: /^Execute query/ }).click();
    const stop = page.getByRole('button', { name: /^Stop query/ });
    await stop.waitFor();
    // Nothing on the page tells when it follows: something happens until it shows.
    const shown = page.locator('.result-window .view-line', { hasText: '"FILE_READY"' }).first();
    for (let n = 0; !(await shown.isVisible()); n += 1) {
      assert.ok(n < 20, 'no event was shown');
      const text = new File([`event ${n}`], `event-${n}.txt`);
      assert.deepEqual((await upload(apollo(server), server.workspace, text)).userErrors, []);
      await page.waitForTimeout(500);
    }
    await page.screenshot({ path: join(screenshots, 'events.png') });
    await stop.click();
    await page.getByRole('button', { name: /^Execute query/ }).waitFor();
  });

  await t.test('CreateDirectUpload, the form, CompleteDirectUpload', async () => {
    const { createDirectUpload } = await runTab(page, 'CreateDirectUpload');
    assert.deepEqual(createDirectUpload.userErrors, []);
    const { id, uploadUrl, fileFieldName } = createDirectUpload.directUpload;

    const form = new FormData();
    form.append(fileFieldName, new File([jpeg(16, 8, { orientation: 1, make: 'Tiny' })], 'photo.jpg'));
    const sent = await fetch(uploadUrl, { method: 'POST', body: form });
    assert.equal(sent.status, 200);

    const { completeDirectUpload } = await runTab(page, 'CompleteDirectUpload', { input: { id } });
    assert.deepEqual(completeDirectUpload.userErrors, []);
    assert.equal(completeDirectUpload.directUpload.status, 'COMPLETED');
    assert.equal(completeDirectUpload.image.width, 16);
  });

  await t.test('DeleteImage', async () => {
    const { deleteImage } = await runTab(page, 'DeleteImage', { input: { id: first.imageId } });
    assert.deepEqual(deleteImage.userErrors, []);
    assert.equal(deleteImage.success, true);
    assert.equal(deleteImage.deletedImageId, first.imageId);
    assert.equal(deleteImage.file.imageStatus, 'REMOVED');

    const { images } = await runTab(page, 'GalleryPage');
    assert.equal(images.totalCount, 1);
    assert.notEqual(images.nodes[0].id, first.imageId);
  });

  await t.test('the schema is there to browse', async () => {
    await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
    await page.getByRole('link', { name: 'Mutation', exact: true }).click();
    await page.getByText('For browsers prefer').waitFor();
    await page.screenshot({ path: join(screenshots, 'documentation.png') });
    await page.getByRole('button', { name: 'Hide Documentation Explorer' }).click();
  });

  await t.test('a reload stays signed in, and the token is kept for this tab only', async () => {
    await page.reload();
    await session.getByText('signed in as Admin (ADMIN)').waitFor();
    await page.getByRole('tab').first().waitFor();
    assert.equal(page.url(), `${server.origin}/`);
    const kept = await page.evaluate(() => JSON.stringify({ ...localStorage }) + document.cookie);
    assert.ok(!kept.includes(server.token), 'the token is in localStorage or a cookie');
  });

  await t.test('until here, the token was in no URL, no other host was asked, and nothing was complained about', () => {
    seen.assertQuiet(server);
  });

  await t.test('a wrong token is refused, and the right one lets in again', async () => {
    const field = page.getByLabel('API token', { exact: true });
    await field.fill('imgr_wrong');
    await page.getByRole('button', { name: 'Use token' }).click();
    await session.getByText('token refused').waitFor();
    await page.getByRole('heading', { name: 'Enter an API token' }).waitFor();
    await page.getByText('The server refused this token.').waitFor();
    assert.equal(await page.getByRole('tab').count(), 0);
    await page.screenshot({ path: join(screenshots, 'refused.png') });

    await field.fill(server.token);
    await field.press('Enter');
    await session.getByText('signed in as Admin (ADMIN)').waitFor();
    await page.getByRole('tab').first().waitFor();

    await page.getByRole('button', { name: 'Forget' }).click();
    await session.getByText('no token').waitFor();
    assert.equal(await page.getByRole('tab').count(), 0);

    // The browser itself notes an answer of 401.
    seen.complaints = seen.complaints.filter(complaint => !/status of 401/.test(complaint));
    seen.assertQuiet(server);
  });

  await t.test('a phone in the dark', async () => {
    const phone = await browser.newPage({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
    const seenThere = watch(phone);
    await phone.goto(server.page);
    await phone.locator('#session').getByText('signed in as Admin (ADMIN)').waitFor();
    await runTab(phone, 'WhoAmI');
    const { scroll, client } = await phone.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
    }));
    await phone.screenshot({ path: join(screenshots, 'phone.png') });
    const answer = await phone.locator('.result-window').boundingBox();
    assert.ok(answer.width > 200, `the answer is ${answer.width} pixels wide`);
    assert.ok(scroll <= client, `the page is ${scroll} pixels wide on a screen of ${client}`);
    seenThere.assertQuiet(server);
  });

  console.log(`Screenshots: ${screenshots}`);
});

/** Notes what a page asks for and what it complains about. */
function watch(page) {
  const seen = { urls: [], complaints: [] };
  page.on('request', request => seen.urls.push(request.url(), request.headers().referer ?? ''));
  page.on('websocket', socket => seen.urls.push(socket.url()));
  page.on('requestfailed', request => {
    seen.complaints.push(`${request.url()}: ${request.failure()?.errorText}`);
  });
  page.on('pageerror', problem => seen.complaints.push(String(problem)));
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) seen.complaints.push(message.text());
  });
  seen.assertQuiet = ({ origin, token }) => {
    assert.ok(seen.urls.length > 0);
    const { host } = new URL(origin);
    for (const url of seen.urls.filter(Boolean)) {
      assert.ok(!url.includes(token), 'the token is in the URL of a request');
      if (!/^(data|blob):/.test(url)) assert.equal(new URL(url).host, host, url);
    }
    // A violation of the content security policy is an error in the console.
    assert.deepEqual(seen.complaints, []);
  };
  return seen;
}

/** Opens a sample, puts in other variables if there are any, runs it; answers its data, which the page shows. */
async function runTab(page, name, variables) {
  await page.locator('.graphiql-tab-button', { hasText: new RegExp(`^${name}$`) }).click();
  await page.locator('.graphiql-tab-active', { hasText: name }).waitFor();
  // GraphiQL reads the name of the operation a moment after the tab has changed, and nothing on the page tells when.
  await page.waitForTimeout(500);
  if (variables) {
    await page.locator('.graphiql-editor-tool .monaco-editor').first().click();
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.press('Delete');
    await page.keyboard.insertText(JSON.stringify(variables));
  }
  const answered = page.waitForResponse(response => {
    const { operationName } = response.request().postDataJSON?.() ?? {};
    return new URL(response.url()).pathname === '/graphql' && operationName === name;
  });
  await page.getByRole('button', { name: /^Execute query/ }).click();
  const response = await answered;
  assert.equal(response.status(), 200);
  if (variables) assert.deepEqual(response.request().postDataJSON().variables, variables);
  const { data, errors } = await response.json();
  assert.equal(errors, undefined);
  // The editor keeps spaces as no-break spaces, and draws the lines that are in sight.
  const field = Object.keys(data)[0];
  await page.locator('.result-window .view-line', { hasText: `"${field}": {` }).first().waitFor();
  return data;
}
