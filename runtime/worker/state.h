/* The Lua state of a worker: opened and closed in one place, and called through one helper.
 *
 * What main code calls stands at fixed places at the bottom of the Lua stack (enum state_slot). Main code
 * itself only does what can neither allocate nor raise (push a slot, read a result raw, pop); everything else
 * happens in C functions that run inside state_call. So a script's error, or memory that runs out, is always
 * a result here.
 *
 * The C functions that scripts call get their struct state from their first upvalue (state_of). */
#ifndef WORKER_STATE_H
#define WORKER_STATE_H

#include "common/board.h"
#include "common/cache.h"
#include "common/error.h"
#include "common/wire.h"
#include "worker/cycle.h"
#include "worker/deadline.h"
#include "worker/folder.h"
#include "worker/link.h"
#include "worker/message.h"
#include "worker/note.h"
#include "worker/outbox.h"
#include "worker/quota.h"
#include "worker/trip.h"
#include "worker/wait.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

struct web;
struct web_transfer;

enum state_slot {
    STATE_ON_ERROR = 1, /* writes error and traceback into `note` */
    STATE_LOAD_SCRIPT,  /* () -> the script, compiled; see script.c */
    STATE_READ_SCRIPT,  /* (what it returned) -> handle, setup or nil, teardown or nil */
    STATE_SEAL,         /* (): globals are read only from here on; see scripts/sandbox.lua */
    STATE_TAKE_MESSAGE, /* () -> message object, body as a string; see handler.c */
    STATE_TAKE_WORKER,  /* () -> the object of setup and teardown; see script.c */
    STATE_DECODE_JSON,  /* (string) -> value; the host's own cjson, out of the script's reach */
    STATE_WALK,         /* (the script's three functions): through all of the heap; see heap_walk.c */
    STATE_AWAIT_CYCLE,  /* (): a collection that ends is told of; see cycle.c */
    STATE_HANDLE,       /* the script's three: the last two may be nil */
    STATE_SETUP,
    STATE_TEARDOWN,
    STATE_SLOTS = STATE_TEARDOWN,
    /* In the registry only. */
    STATE_HEADERS,  /* the headers of the message at hand, or false; see lua_message.c */
    STATE_HOST,     /* what C brings to scripts/sandbox.lua */
    STATE_GLOBALS,  /* what scripts see as globals, by name; this and the next two are that file's own */
    STATE_MODULES,  /* what they have required, by name */
    STATE_CONTENTS, /* libraries as scripts see them, and what is in them */
    STATE_OF_TASKS, /* from here on: what belongs to messages under way; see tasks.c */
};

enum { STATE_SLOTS_OF_TASK = 2 }; /* its coroutine, its headers */

/* What the worker was set up for. */
struct assignment {
    struct wire_setup limits;
    char *script; /* as the user wrote it */
    char *queue;
    struct folder folder; /* of the script */
    struct stack_room stack;
    const struct board *board;
    struct cache *cache; /* of all workers */
    const struct shelf *shelf;
    struct home *home;   /* of its states */
    struct waits *waits; /* the loop on which handlers wait */
    struct web *web;     /* NULL where http.allow is empty */
};

struct state {
    lua_State *lua;
    const struct assignment *assignment;
    struct link *link; /* where log lines go */
    struct quota quota;
    struct cycle cycle;
    struct trip trip;
    struct deadline deadline;      /* the tick looks at it at any moment */
    const struct message *message; /* the one at hand; NULL between messages */
    uint64_t generation;         /* of the message, setup or teardown at hand: tickets of another are over */
    uint64_t last_generation;    /* that was given away */
    uint64_t headers_generation; /* of the headers that lua_message.c keeps; 0: none */
    struct walk *walk;           /* the one through the heap that goes on; else NULL */
    int headers_slot;            /* where these are in the registry */
    struct outbox outbox;        /* what is published by it, until it has succeeded */
    struct wait *wait;           /* what it waits for: own_wait, or its task's */
    struct wait own_wait;
    bool yields;                   /* it has a coroutine of its own, which yields where it waits */
    struct buffer scratch;         /* of lua_http.c: a body that is put together */
    struct web_transfer *answered; /* whose answer is pushed right now; see lua_http.c */
    struct note note;              /* error, reason or what else there is to say of the last call */
    size_t note_message;           /* how much of `note` is the error itself, the traceback aside */
};

/* What objects that scripts hold are, in their memory: good for one message, setup or teardown, after which
 * no pointer is followed. */
struct ticket {
    const struct state *state;
    uint64_t generation;
};

/* Opens a state with its sandbox and nothing loaded. What is passed is borrowed until state_close, which also
 * follows a failed open. */
bool state_open(struct state *state, const struct assignment *assignment, struct link *link,
                struct error *error);
void state_close(struct state *state);

/* Pushes the slot's function; its arguments may follow, as far as they were on the stack before. */
void state_push(struct state *state, enum state_slot slot);

/* Calls what was pushed; false where it failed: then nothing but the slots is on the stack and `note` says
 * why. After a trip (trip.kind) every call has failed, whatever the script made of it, and the state is good
 * for nothing more. */
bool state_call(struct state *state, int arguments, int results);

/* Write into `note` why the message at hand has failed: a trip; an error, on top of a coroutine that it
 * ended; its time, which was over while it waited in that function. */
void state_describe_trip(struct state *state);
void state_describe_failure(struct state *state, lua_State *coroutine);
void state_describe_late(struct state *state, lua_State *coroutine, const char *where);

/* Removes everything but the slots. */
void state_drop(struct state *state);

/* One message, or one loading or teardown, is from state_begin to state_end: the time limit holds for all
 * calls between them, and scripts may publish. What they have published waits in `outbox` for its owner. */
void state_begin(struct state *state, int64_t now_ns);
void state_end(struct state *state);

/* What the state's heap holds, garbage included. */
uint64_t state_heap_bytes(const struct state *state);

/* For C functions that scripts call: their state. */
struct state *state_of(lua_State *lua);
/* Pushes a C function that finds `state` by state_of. May raise. */
void state_push_function(struct state *state, lua_State *lua, lua_CFunction function);

/* -> an object for what is at hand, without a metatable. May raise. */
void state_push_ticket(struct state *state, lua_State *lua);

/* While the state is opened: pops a function and puts it into its slot. May raise. */
void state_set_slot(lua_State *lua, enum state_slot slot);

#endif
