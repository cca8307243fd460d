// The official client for Node.js: sends requests to a server and prints what it returns, as JSON.
//
//     node openai_client.mjs PATH_OF_THE_CLIENT BASE_URL < requests.json
//
// A request has `endpoint` (transcriptions or translations), `file` (a path), `kind` (how the file is passed)
// and `fields`. All are sent at once. A result has `value`, or the `events` of a stream, or the `error`.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, baseURL] = process.argv.slice(2);
const { default: OpenAI, toFile } = await import(pathToFileURL(path.join(folder, 'index.mjs')));
const client = new OpenAI({ apiKey: process.env.KEY ?? 'none', baseURL, maxRetries: 0, timeout: 60_000 });

const FILES = {
  stream: (name) => fs.createReadStream(name), // sent in chunks, without Content-Length
  buffer: (name) => toFile(fs.readFileSync(name), 'talk.wav'),
  unnamed: (name) => toFile(fs.readFileSync(name)),
  typed: (name) => new File([fs.readFileSync(name)], 'talk.wav', { type: 'audio/wav' }),
};

async function send({ endpoint, file, kind, fields }) {
  try {
    const body = { file: await FILES[kind](file), model: 'whisper-1', ...fields };
    const answer = await client.audio[endpoint].create(body);
    if (answer?.[Symbol.asyncIterator] === undefined || typeof answer === 'string') {
      return { value: answer };
    }
    const events = [];
    for await (const event of answer) events.push(event);
    return { events };
  } catch (error) {
    const { status, code, param, type, message, requestID } = error;
    return { error: { name: error.constructor.name, status, code, param, type, message, requestID } };
  }
}

const requests = JSON.parse(fs.readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(await Promise.all(requests.map(send))));
