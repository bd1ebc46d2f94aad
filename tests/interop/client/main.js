// A WhatsApp client that was written elsewhere (Baileys), driven over stdin and stdout.
//
// Each line of stdin is a call, {"id", "call", "arguments"}; one line of stdout answers it, {"id", "value"} or
// {"id", "error"}. What Baileys tells by itself is {"event", "value"}. A call is one of `open`,
// `close` and `download`, or the name of a member of the Baileys socket. As an argument,
// {"type": "Buffer", "data": base64} stands for bytes and {"type": "Message", "data": id} for a message
// this client has sent or received. When stdin ends, the connection and the process end.
//
// Arguments: folder of the credentials, WebSocket URL, HOST:PORT for media whose host is not named.

import { Console } from 'node:console';
import { createInterface } from 'node:readline';

import { BufferJSON } from '@whiskeysockets/baileys';

import { Client } from './client.js';

// Libraries print; stdout is for answers.
globalThis.console = new Console(process.stderr);

const [folder, url, mediaHost] = process.argv.slice(2);
const write = line => process.stdout.write(`${JSON.stringify(line, BufferJSON.replacer)}\n`);
const tell = (event, value) => write({ event, value });
const client = new Client({ folder, url, tell });

// Baileys asks this host for whatever names no other, and takes no setting for it.
const mediaHostOfBaileys = 'https://mmg.whatsapp.net/';
const fetchAnywhere = globalThis.fetch;
globalThis.fetch = (resource, options) => {
    const address = String(resource?.url ?? resource);
    const isRedirected = address.startsWith(mediaHostOfBaileys);
    return fetchAnywhere(isRedirected ? `https://${mediaHost}/${address.slice(mediaHostOfBaileys.length)}` : resource, options);
};

async function answer({ id, call, arguments: list }) {
    try {
        write({ id, value: (await client.call(call, list)) ?? null });
    } catch (error) {
        write({ id, error: String(error?.stack ?? error) });
    }
}

// A promise that Baileys let go: the tests decide whether it matters.
process.on('unhandledRejection', error => tell('unhandled', String(error?.stack ?? error)));

// A call does not wait for the one before it.
const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on('line', line => void answer(JSON.parse(line, BufferJSON.reviver)));
lines.on('close', async () => {
    await client.close();
    process.exit(0);
});
