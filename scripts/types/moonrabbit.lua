---@meta
-- What editors and the Lua language server are to know of handlers and of their specs: give this file's
-- folder as a library (`"workspace.library": ["scripts/types"]`). It is never run. The words are in
-- runtime/doc/handler.md and runtime/doc/testing.md.

---A message on its way through a handler. It is over when the handler returns.
---@class moonrabbit.Message
---@field body string as it came
---@field id string? the property message_id
---@field queue string as the configuration names it
---@field exchange string where it was published to; "" is the default exchange
---@field routing_key string
---@field consumer_tag string
---@field headers table<string, any> by name; empty where there are none
---@field content_type string?
---@field content_encoding string?
---@field correlation_id string?
---@field reply_to string?
---@field timestamp number? seconds since 1970
---@field priority integer? 0 to 255
---@field delivery_mode integer? 2 is persistent
---@field type string?
---@field app_id string?
---@field user_id string?
---@field expiration string? milliseconds
---@field redelivered boolean the broker has handed it out before
---@field attempt integer 1 for the first delivery

---@alias moonrabbit.Verdict
---| nil      # acked
---| true     # acked
---| "ack"    # acked
---| false    # tried again
---| "retry"  # tried again; the second result may be a delay
---| "requeue" # goes back to the queue
---| "reject" # not tried again; the second result may be a reason

---@alias moonrabbit.Duration number|string seconds, or "90s", "5m", "1h"

---@alias moonrabbit.Detail string|moonrabbit.Duration|nil a reason to reject, a delay to retry

---What a script returns: this function, or a table of it with setup and teardown.
---@alias moonrabbit.Handle fun(data: any, message: moonrabbit.Message): moonrabbit.Verdict, moonrabbit.Detail

---@class moonrabbit.Handler
---@field handle moonrabbit.Handle
---@field setup? fun() once in each new Lua state
---@field teardown? fun() before a state is closed in order

---The module `log`. A line has the consumer's name and the worker's number besides.
---@class moonrabbit.Log
---@field debug fun(message: any, fields?: table<string, any>)
---@field info fun(message: any, fields?: table<string, any>)
---@field warn fun(message: any, fields?: table<string, any>)
---@field error fun(message: any, fields?: table<string, any>)

---@class moonrabbit.MemoryCheck
---@field status "normal"|"warning"|"critical" the worse one of this state's and the whole program's
---@field usage_bytes integer
---@field usage_mb number
---@field peak_bytes integer
---@field peak_mb number
---@field limit_bytes integer
---@field limit_mb number
---@field usage_percent number of limits.memory

---The module `memory`.
---@class moonrabbit.Memory
---@field check fun(): moonrabbit.MemoryCheck
---@field usage fun(): integer bytes
---@field peak fun(): integer bytes
---@field is_over_threshold fun(): boolean
---@field is_critical fun(): boolean

---@class moonrabbit.HttpOptions
---@field headers? table<string, string|number>
---@field body? string
---@field json? any sent as JSON
---@field timeout? moonrabbit.Duration of all of it
---@field max_response? integer|string bytes, or "4MiB"
---@field redirects? integer how many are followed

---@class moonrabbit.HttpRequest: moonrabbit.HttpOptions
---@field url string
---@field method? string

---@class moonrabbit.HttpResponse
---@field status integer
---@field headers table<string, string> by names in lower case
---@field body string
---@field json fun(): any

---The module `http`, where http.allow names hosts. Waits.
---@class moonrabbit.Http
---@field request fun(request: moonrabbit.HttpRequest): moonrabbit.HttpResponse?, string?
---@field get fun(url: string, options?: moonrabbit.HttpOptions): moonrabbit.HttpResponse?, string?
---@field head fun(url: string, options?: moonrabbit.HttpOptions): moonrabbit.HttpResponse?, string?
---@field post fun(url: string, options?: moonrabbit.HttpOptions): moonrabbit.HttpResponse?, string?
---@field put fun(url: string, options?: moonrabbit.HttpOptions): moonrabbit.HttpResponse?, string?
---@field delete fun(url: string, options?: moonrabbit.HttpOptions): moonrabbit.HttpResponse?, string?

---@alias moonrabbit.Value string|number|boolean|table
---@alias moonrabbit.Key string|integer
---@alias moonrabbit.Ttl moonrabbit.Duration? nil: cache.ttl of the configuration

---@class moonrabbit.CacheStats
---@field entries integer
---@field bytes integer
---@field capacity integer in entries
---@field hits integer
---@field misses integer
---@field evictions integer
---@field expired integer
---@field resets integer

---A part of the cache with keys of its own.
---@class moonrabbit.Space
---@field get fun(key: moonrabbit.Key): moonrabbit.Value?, string?
---@field set fun(key: moonrabbit.Key, value: moonrabbit.Value, ttl?: moonrabbit.Ttl): true?, string?
---@field add fun(key: moonrabbit.Key, value: moonrabbit.Value, ttl?: moonrabbit.Ttl): boolean?, string?
---@field replace fun(key: moonrabbit.Key, value: moonrabbit.Value, ttl?: moonrabbit.Ttl): boolean?, string?
---@field incr fun(key: moonrabbit.Key, by?: number, init?: number, ttl?: moonrabbit.Ttl): number?, string?
---@field fetch fun(key: moonrabbit.Key, ttl: moonrabbit.Ttl, make: fun(): any): any, string?
---@field has fun(key: moonrabbit.Key): boolean?, string?
---@field delete fun(key: moonrabbit.Key): boolean?, string?
---@field ttl fun(key: moonrabbit.Key): number?, string? seconds
---@field expire fun(key: moonrabbit.Key, ttl?: moonrabbit.Ttl): true?, string?
---@field clear fun()
---@field size fun(): integer
---@field capacity fun(): integer
---@field keys fun(max?: integer): string[]
---@field stats fun(): moonrabbit.CacheStats

---The module `cache`: shared by all workers, of a fixed size.
---@class moonrabbit.Cache: moonrabbit.Space
---@field space fun(name: string, options?: { entries?: integer }): moonrabbit.Space?, string?

---A message for a worker on trial: fields of moonrabbit.Message, all of which may be left out.
---@class moonrabbit.TestMessage
---@field body? any no string: sent as JSON
---@field body_base64? string every other text can be given so, too: id_base64 and so on
---@field id? string
---@field exchange? string
---@field routing_key? string
---@field consumer_tag? string
---@field headers? table<string, any>
---@field headers_base64? string an AMQP table in its own encoding
---@field content_type? string
---@field content_encoding? string
---@field correlation_id? string
---@field reply_to? string
---@field timestamp? integer
---@field priority? integer
---@field delivery_mode? integer
---@field type? string
---@field app_id? string
---@field user_id? string
---@field expiration? string
---@field redelivered? boolean
---@field attempt? integer

---@class moonrabbit.TestLine
---@field level "debug"|"info"|"warn"|"error"
---@field message string
---@field fields table<string, any>

---@class moonrabbit.TestPublication
---@field exchange string
---@field routing_key string
---@field body string
---@field properties table<string, any>

---@class moonrabbit.TestWait
---@field min number seconds
---@field max number seconds

---@class moonrabbit.TestResult
---@field verdict "ack"|"retry"|"requeue"|"reject"|"error"
---@field cause? "raised"|"memory"|"time"|"killed"|"body"|"size" of an error
---@field settlement "ack"|"retry"|"requeue"|"reject" what the host would do
---@field reason? string that the handler gave
---@field error? string
---@field traceback? string
---@field delay? number seconds, where the handler named them
---@field wait? moonrabbit.TestWait where it would be tried again later
---@field attempt integer
---@field published moonrabbit.TestPublication[]
---@field logs moonrabbit.TestLine[]
---@field elapsed number seconds
---@field memory? integer bytes

---@class moonrabbit.TestCounts
---@field processes integer
---@field recycled table<string, integer>
---@field logs_lost integer
---@field published_lost integer

---A variable that grows with every message.
---@class moonrabbit.TestLeak
---@field path string as in "upvalue 'seen' of handler.lua:3"
---@field kind string "table", "array", "string", "linked list" or "nested tables"
---@field entries integer
---@field entries_per_message number
---@field bytes integer
---@field bytes_per_message number
---@field sample string some of its keys

---@class moonrabbit.TestWorker
---@field deliver fun(self, message: moonrabbit.TestMessage|string): moonrabbit.TestResult
---@field deliver_all fun(self, messages: (moonrabbit.TestMessage|string)[]): moonrabbit.TestResult[]
---@field retry_delay fun(self, attempt: integer): moonrabbit.TestWait?
---@field recycle fun(self): { messages: integer, memory: integer, peak: integer }
---@field cache fun(self): moonrabbit.Space
---@field advance fun(self, by: moonrabbit.Duration)
---@field logs fun(self): moonrabbit.TestLine[]
---@field published fun(self): moonrabbit.TestPublication[]
---@field leaks fun(self): moonrabbit.TestLeak[]
---@field counts fun(self): moonrabbit.TestCounts
---@field close fun(self)

---The module `moonrabbit.test`, in specs.
---@class moonrabbit.Test
---@field worker fun(script: string, options?: table): moonrabbit.TestWorker
