<?php
// What people write without moonrabbit, in PHP: a consumer on php-amqplib as guides against memory leaks have it.
// The prefetch is bounded, what fails is nacked, ids that were seen are kept up to a bound, cycles are collected,
// and it ends after so many messages, or with too much memory, for its supervisor to start it anew.
//
//   php consumer.php HOST PORT USER PASSWORD QUEUE MESSAGES json|raw
//
// Tells {"seconds":N}, from basic.consume to the end of the connection.
declare(strict_types=1);

require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;

const PREFETCH = 256;
const MEMORY_LIMIT = 256 * 1024 * 1024;
const COLLECT_EVERY = 1000;
const SEEN_MAX = 1000;

[, $host, $port, $user, $password, $queue, $messages, $kind] = $argv;

function handle(array $order): void
{
    $total = 0;
    foreach ($order['items'] as $item) {
        $total += $item['quantity'] * $item['price'];
    }
    if ($total === 1) {
        throw new DomainException('too cheap');
    }
}

function handle_raw(string $body): void
{
    if (strlen($body) === 0) {
        throw new DomainException('empty');
    }
}

function remember(array &$seen, string $id): bool
{
    if (isset($seen[$id])) {
        return false;
    }
    if (count($seen) >= SEEN_MAX) {
        $seen = array_slice($seen, SEEN_MAX / 2, null, true);
    }
    return $seen[$id] = true;
}

$handled = 0;
$failed = 0;
$seen = [];

$consume = function (AMQPMessage $message) use ($kind, &$handled, &$failed, &$seen): void {
    try {
        if (remember($seen, $message->get('message_id'))) {
            if ($kind === 'json') {
                handle(json_decode($message->getBody(), true, 512, JSON_THROW_ON_ERROR));
            } else {
                handle_raw($message->getBody());
            }
        }
        $message->ack();
    } catch (Throwable $error) {
        $failed++;
        fwrite(STDERR, $error->getMessage() . "\n");
        $message->nack();
    }
    if (++$handled % COLLECT_EVERY === 0) {
        gc_collect_cycles();
    }
};

$connection = new AMQPStreamConnection($host, (int) $port, $user, $password);
$channel = $connection->channel();
$channel->basic_qos(0, PREFETCH, false);
$began = hrtime(true);
$channel->basic_consume($queue, '', false, false, false, false, $consume);
while ($handled < (int) $messages && memory_get_usage() < MEMORY_LIMIT) {
    $channel->wait();
}
$channel->close();
$connection->close();
printf("{\"seconds\":%.6f}\n", (hrtime(true) - $began) / 1e9);
exit($handled === (int) $messages && $failed === 0 ? 0 : 1);
