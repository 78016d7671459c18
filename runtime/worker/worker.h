/* The life of a worker process: the untrusted side, in which handlers run.
 *
 * The program starts it by executing itself; runtime/main.c calls worker_main when its first argument says
 * so. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

/* Serves the socket of common/inherit.h until WIRE_STOP or its end; returns the process's exit code. Changes
 * limits, signals and descriptors of the process for good: nothing else can live beside it. */
int worker_main(void);

#endif
