# What people write without moonrabbit, in Python: a consumer on pika, as its tutorial has it.
#
#   python3 consumer.py HOST PORT USER PASSWORD QUEUE MESSAGES json|raw
#
# Tells {"seconds":N}, from basic.consume to the end of the connection. What fails ends it.
import json
import sys
import time

import pika

PREFETCH = 256

host, port, user, password, queue, messages, kind = sys.argv[1:]
messages = int(messages)
handled = 0


def handle(order):
    total = 0
    for item in order["items"]:
        total += item["quantity"] * item["price"]
    if total == 1:
        raise ValueError("too cheap")


def handle_raw(body):
    if len(body) == 0:
        raise ValueError("empty")


def consume(channel, method, properties, body):
    global handled
    if kind == "json":
        handle(json.loads(body))
    else:
        handle_raw(body)
    channel.basic_ack(method.delivery_tag)
    handled += 1
    if handled == messages:
        channel.stop_consuming()


credentials = pika.PlainCredentials(user, password)
connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port), credentials=credentials))
channel = connection.channel()
channel.basic_qos(prefetch_count=PREFETCH)
began = time.monotonic()
channel.basic_consume(queue, consume)
channel.start_consuming()
connection.close()
print('{"seconds":%.6f}' % (time.monotonic() - began))
