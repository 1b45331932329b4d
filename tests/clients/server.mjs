// An imagegraph of its own for one test file: empty data folder, free port, built-in emulator.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const START_MS = 60_000;
const STOP_MS = 15_000;

/** Starts the binary that `IMAGEGRAPH_BIN` names; answers what its first start prints, and how to stop it. */
export async function startServer() {
  const binary = process.env.IMAGEGRAPH_BIN;
  if (!binary) throw new Error('IMAGEGRAPH_BIN is not set: it names the imagegraph binary to test.');
  const folder = await mkdtemp(join(tmpdir(), 'imagegraph-clients-'));
  // Nothing but these settings: no variable and no .env file of whoever runs the tests.
  const env = { PATH: process.env.PATH, IMAGEGRAPH_LISTEN: '127.0.0.1:0', IMAGEGRAPH_DATA_DIR: join(folder, 'data') };
  const child = spawn(resolve(binary), ['serve'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit').catch(() => {});
  const end = () => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  const interrupted = () => process.exit(1);
  process.once('exit', end).once('SIGINT', interrupted).once('SIGTERM', interrupted);

  let log = '';
  child.stderr.setEncoding('utf8').on('data', text => (log += text));
  const stop = async () => {
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    child.kill('SIGTERM');
    await ended;
    clearTimeout(late);
    process.off('exit', end).off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const greeting = await greetingOf(child);
    return { ...greeting, log: () => log, stop };
  } catch (problem) {
    await stop();
    throw new Error(`${binary} did not start: ${problem.message}\n${log}`);
  }
}

/** The address with the token, and the workspace, as the first start prints them. */
async function greetingOf(child) {
  const lines = createInterface({ input: child.stdout });
  const late = setTimeout(() => lines.close(), START_MS);
  child.once('error', () => lines.close());
  let workspace;
  let page;
  for await (const line of lines) {
    workspace ??= line.match(/\bwsp_[0-9a-z]{26}\b/)?.[0];
    page ??= line.match(/http:\/\/\S+\/#token=\S+/)?.[0];
    // The curl line comes after both.
    if (workspace && page && line.includes('/graphql')) break;
  }
  clearTimeout(late);
  child.stdout.resume();
  if (!workspace || !page) throw new Error('it printed no workspace, or no address with a token.');
  const address = new URL(page);
  const token = new URLSearchParams(address.hash.slice(1)).get('token');
  return { page, origin: address.origin, graphql: `${address.origin}/graphql`, token, workspace };
}
