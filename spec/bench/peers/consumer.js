// What people write without moonrabbit, in JavaScript: a consumer on amqplib, by its promises.
//
//   NODE_PATH=… node consumer.js HOST PORT USER PASSWORD QUEUE MESSAGES json|raw
//
// Tells {"seconds":N}, from basic.consume to the end of the connection. What fails ends it.
"use strict";

const amqplib = require("amqplib");

const PREFETCH = 256;

const [hostname, port, username, password, queue, messages, kind] = process.argv.slice(2);

function handle(order) {
  let total = 0;
  for (const item of order.items) {
    total += item.quantity * item.price;
  }
  if (total === 1) throw new Error("too cheap");
}

function handleRaw(body) {
  if (body.length === 0) throw new Error("empty");
}

function consume(channel) {
  let handled = 0;
  return new Promise((resolve, reject) => {
    channel.consume(queue, (message) => {
      if (kind === "json") {
        handle(JSON.parse(message.content.toString()));
      } else {
        handleRaw(message.content);
      }
      channel.ack(message);
      if (++handled === Number(messages)) resolve();
    }).catch(reject);
  });
}

async function main() {
  const connection = await amqplib.connect({ hostname, port: Number(port), username, password });
  const channel = await connection.createChannel();
  await channel.prefetch(PREFETCH);
  const began = performance.now();
  await consume(channel);
  await channel.close();
  await connection.close();
  console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000 }));
}

main();
