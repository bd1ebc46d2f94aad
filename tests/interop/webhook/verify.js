// Verifies one POST with the public library: {secret, headers, body} on standard input. Prints the event's
// type when it holds.
import { readFileSync } from 'node:fs'
import { Webhook } from 'standardwebhooks'

const { secret, headers, body } = JSON.parse(readFileSync(0, 'utf8'))
const event = new Webhook(secret).verify(body, headers)
process.stdout.write(event.type)
