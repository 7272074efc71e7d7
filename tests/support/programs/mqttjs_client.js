// MQTT.js clients driven by lines of JSON on standard input; see tests/support/drivers/mqttjs.py.
"use strict";

const mqtt = require("mqtt");
const readline = require("readline");

const clients = new Map();

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const actions = {
  async connect({ client: number, options }) {
    const client = mqtt.connect({ host: "127.0.0.1", reconnectPeriod: 0, ...options });
    clients.set(number, client);
    let code; // of the DISCONNECT the server sent
    client.on("disconnect", (packet) => { code = packet.reasonCode; });
    client.on("close", () => tell({ event: "closed", client: number, code }));
    client.on("message", (topic, payload, packet) => {
      const properties = { ...packet.properties };
      if (properties.correlationData) {
        properties.correlationData = properties.correlationData.toString("base64");
      }
      tell({
        event: "message", client: number, topic, payload: payload.toString("base64"),
        qos: packet.qos, retain: packet.retain, properties,
      });
    });
    return new Promise((resolve, reject) => {
      client.once("connect", resolve);
      client.once("error", reject);
    }).finally(() => client.on("error", () => {}));
  },

  async subscribe({ client, filter, qos, identifier }) {
    const options = { qos };
    if (identifier) options.properties = { subscriptionIdentifier: identifier };
    return new Promise((resolve) => {
      clients.get(client).subscribe(filter, options, (error, granted, packet) => resolve(packet.granted[0]));
    });
  },

  async unsubscribe({ client, filter }) {
    await clients.get(client).unsubscribeAsync(filter);
  },

  async publish({ client, topic, payload, qos, retain, properties }) {
    if (properties.correlationData) {
      properties.correlationData = Buffer.from(properties.correlationData, "base64");
    }
    await clients.get(client).publishAsync(topic, Buffer.from(payload, "base64"), { qos, retain, properties });
  },

  async disconnect({ client }) {
    await clients.get(client).endAsync();
  },

  async kill({ client }) {
    clients.get(client).stream.destroy();
  },
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { number, do: action, ...what } = JSON.parse(line);
  actions[action](what).then(
    (result) => tell({ answer: number, result }),
    (error) => tell({ answer: number, error: String(error) }),
  );
});
lines.on("close", () => process.exit());
