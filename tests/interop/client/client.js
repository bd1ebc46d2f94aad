// One linked device: its credentials, its connection, and the messages it has seen.

import {
    DisconnectReason,
    downloadMediaMessage,
    makeCacheableSignalKeyStore,
    makeWASocket,
    useMultiFileAuthState
} from '@whiskeysockets/baileys';
import pino from 'pino';

// Slow machines connect slowly.
const connectTimeoutMs = 60_000;

export class Client {
    #folder;
    #url;
    #tell;
    #logger = pino({ level: process.env.BAILEYS_LOG ?? 'info' }, pino.destination(2));
    #auth;
    #socket;
    #messages = new Map();
    #saves = new Set();

    constructor({ folder, url, tell }) {
        this.#folder = folder;
        this.#url = url;
        this.#tell = tell;
    }

    // Calls one of the functions here, or a member of the Baileys socket.
    async call(name, list) {
        switch (name) {
            case 'open':
                return this.#open();
            case 'close':
                return this.close();
            case 'download':
                return this.#download(this.#named(list[0]), list[1]);
        }
        const member = this.#socket?.[name];
        if (member === undefined) {
            throw new Error(`no socket, or it has no ${name}`);
        }
        if (typeof member !== 'function') {
            return member;
        }
        const value = await member(...list.map(item => this.#resolve(item)));
        if (name === 'sendMessage') {
            // Baileys tells of it later; whoever cannot read it may ask for it sooner.
            this.#messages.set(value.key.id, value);
        }
        return value;
    }

    // Ends the connection; the credentials stay for another `open`.
    async close() {
        await this.#socket?.end(undefined);
        this.#socket = undefined;
        await this.#saved();
    }

    async #open() {
        if (this.#socket) {
            throw new Error('the client is open');
        }
        await this.#saved();
        const { state, saveCreds } = await useMultiFileAuthState(this.#folder);
        const set = data => this.#saving(state.keys.set(data));
        const keys = makeCacheableSignalKeyStore({ ...state.keys, set }, this.#logger);
        this.#auth = { creds: state.creds, keys, save: () => this.#saving(saveCreds()) };
        this.#connect();
    }

    #connect() {
        const { creds, keys, save } = this.#auth;
        const socket = makeWASocket({
            auth: { creds, keys },
            waWebSocketUrl: this.#url,
            logger: this.#logger,
            connectTimeoutMs,
            getMessage: async key => this.#messages.get(key.id)?.message
        });
        this.#socket = socket;
        socket.ev.process(async events => {
            if (events['creds.update']) {
                await save();
                // Counted when the first synchronization after pairing is complete.
                if (events['creds.update'].accountSyncCounter) {
                    this.#tell('settled', true);
                }
            }
            for (const message of events['messages.upsert']?.messages ?? []) {
                this.#messages.set(message.key.id, message);
            }
            for (const [name, value] of Object.entries(events)) {
                if (name === 'connection.update') {
                    this.#changed(socket, value);
                } else if (name !== 'creds.update') {
                    this.#tell(name, value);
                }
            }
        });
    }

    // After pairing the server ends the connection and expects a login; this is for the application to do.
    #changed(socket, { lastDisconnect, ...update }) {
        const error = lastDisconnect?.error;
        const code = error?.output?.statusCode;
        this.#tell('connection.update', error ? { ...update, code, reason: error.message } : update);
        if (update.connection === 'close' && this.#socket === socket) {
            this.#socket = undefined;
            if (code === DisconnectReason.restartRequired) {
                this.#connect();
            }
        }
    }

    // The decrypted file of a message.
    #download(message, options) {
        return downloadMediaMessage(message, 'buffer', options ?? {});
    }

    #named(reference) {
        const message = this.#messages.get(reference.data);
        if (!message) {
            throw new Error(`no message ${reference.data}`);
        }
        return message;
    }

    // Puts messages in the place of their names.
    #resolve(value) {
        if (Array.isArray(value)) {
            return value.map(item => this.#resolve(item));
        }
        if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) {
            return value;
        }
        if (value.type === 'Message') {
            return this.#named(value);
        }
        return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, this.#resolve(item)]));
    }

    #saving(save) {
        const tracked = Promise.resolve(save).finally(() => this.#saves.delete(tracked));
        this.#saves.add(tracked);
        return tracked;
    }

    async #saved() {
        while (this.#saves.size > 0) {
            await Promise.allSettled(this.#saves);
        }
    }
}
