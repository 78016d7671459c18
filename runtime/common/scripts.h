/* The Lua sources that the binary carries; the build turns each scripts/NAME.lua into script_NAME. */
#ifndef COMMON_SCRIPTS_H
#define COMMON_SCRIPTS_H

#include <stddef.h>

/* scripts/config.lua: checks a configuration and fills in its defaults (run by host/config.c). */
extern const char script_config[];
extern const size_t script_config_size;

/* Its parts, which it loads by name: scripts/config_keys.lua and so on. */
extern const char script_config_problems[];
extern const size_t script_config_problems_size;
extern const char script_config_kinds[];
extern const size_t script_config_kinds_size;
extern const char script_config_keys[];
extern const size_t script_config_keys_size;
extern const char script_config_checks[];
extern const size_t script_config_checks_size;

/* scripts/sandbox.lua: builds the environment that a handler lives in (run by worker/sandbox.c). */
extern const char script_sandbox[];
extern const size_t script_sandbox_size;

/* scripts/heap_count.lua: counts the entries of a table (run by worker/heap_walk.c). */
extern const char script_heap_count[];
extern const size_t script_heap_count_size;

/* The module moonrabbit.test, what it and `replay` take for a message, and how busted is run; `replay` itself
 * and its report (all run by console.c). */
extern const char script_test[];
extern const size_t script_test_size;
extern const char script_test_message[];
extern const size_t script_test_message_size;
extern const char script_test_busted[];
extern const size_t script_test_busted_size;
extern const char script_replay[];
extern const size_t script_replay_size;
extern const char script_replay_report[];
extern const size_t script_replay_report_size;

/* scripts/status.html: the page at / of the status listener (host/status). */
extern const char script_status_html[];
extern const size_t script_status_html_size;

/* What its Content-Security-Policy allows to be run and used: its own script and style, by their hashes. */
extern const char script_status_html_policy[];

/* `moonrabbit doctor`: its facts, from where they come, its rules and its report; and what it and the report
 * of `replay` share (run by console.c, too). */
extern const char script_words[];
extern const size_t script_words_size;
extern const char script_doctor[];
extern const size_t script_doctor_size;
extern const char script_doctor_facts[];
extern const size_t script_doctor_facts_size;
extern const char script_doctor_management[];
extern const size_t script_doctor_management_size;
extern const char script_doctor_system[];
extern const size_t script_doctor_system_size;
extern const char script_doctor_rules[];
extern const size_t script_doctor_rules_size;
extern const char script_doctor_rules_program[];
extern const size_t script_doctor_rules_program_size;
extern const char script_doctor_rules_clients[];
extern const size_t script_doctor_rules_clients_size;
extern const char script_doctor_rules_queues[];
extern const size_t script_doctor_rules_queues_size;
extern const char script_doctor_rules_server[];
extern const size_t script_doctor_rules_server_size;
extern const char script_doctor_judging[];
extern const size_t script_doctor_judging_size;
extern const char script_doctor_report[];
extern const size_t script_doctor_report_size;

#endif
