// aedes as tools/bench starts it: node aedes.mjs NODE_MODULES WAY PORT CERTIFICATE KEY
// Its way of being configured is a program; this is the one of its documentation.
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { pathToFileURL } from 'node:url'

const [modules, way, port, certificate, key] = process.argv.slice(2)
const require = createRequire(modules + '/')
const { Aedes } = await import(pathToFileURL(require.resolve('aedes')))
const aedes = await Aedes.createBroker()
const tls = way === 'tls' || way === 'wss' ? { cert: readFileSync(certificate), key: readFileSync(key) } : null

let server
if (way === 'tcp') server = createServer(aedes.handle)
else if (way === 'tls') server = createTlsServer(tls, aedes.handle)
else {
  const { WebSocketServer, createWebSocketStream } = require('ws')
  server = tls ? createHttpsServer(tls) : createHttpServer()
  const handleProtocols = () => 'mqtt'
  new WebSocketServer({ server, handleProtocols }).on('connection', (socket, request) => {
    aedes.handle(createWebSocketStream(socket), request)
  })
}
server.listen(Number(port), '127.0.0.1')
