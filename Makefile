# moonrabbit: every habit of the project. `make help` lists them; `make` alone builds.

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
FUZZ_SECONDS ?= 30
FAULTS ?= 200
SEED ?=
SOAK ?= 10m

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := build

# Sources.

SOURCES := $(sort $(wildcard runtime/*.c runtime/common/*.c runtime/host/*.c runtime/host/*/*.c \
  runtime/worker/*.c runtime/test/*.c runtime/doctor/*.c))
SCRIPTS := $(sort $(wildcard scripts/*.lua scripts/*.html))
UNIT_TESTS := $(sort $(wildcard spec/unit/*_test.c))
BENCHMARKS := $(sort $(wildcard spec/bench/*.c))
FUZZERS := $(sort $(wildcard spec/fuzz/*_fuzz.c))
SPEC_MODULES := $(sort $(wildcard spec/support/*.c))
C_FILES := $(sort $(SOURCES) $(wildcard $(addsuffix *.h,$(sort $(dir $(SOURCES)))) spec/*/*.[ch]))
LUA_FILES := $(wildcard scripts examples spec)

MAIN := runtime/main
LIBRARY := $(filter-out $(MAIN),$(SOURCES:.c=)) $(if $(SCRIPTS),gen/scripts)

# Libraries.
# LuaJIT is the system's own, or another build: make LUAJIT=/path/to/its/prefix. lua-cjson is linked
# statically and finds its Lua symbols in LuaJIT; liblua5.1 itself must never be linked in.

ifdef LUAJIT
  LUAJIT_CFLAGS := -isystem $(firstword $(wildcard $(LUAJIT)/include/luajit-2.*) $(LUAJIT)/include)
  LUAJIT_LIBS := -L$(LUAJIT)/lib -Wl,-rpath,$(LUAJIT)/lib -lluajit-5.1
else
  LUAJIT_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags luajit 2>/dev/null))
  LUAJIT_LIBS := $(shell pkg-config --libs luajit 2>/dev/null)
endif
AMQP_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags librabbitmq 2>/dev/null))
AMQP_LIBS := $(shell pkg-config --libs librabbitmq 2>/dev/null)
CJSON_CFLAGS := -isystem /usr/include/lua5.1
CJSON_ARCHIVE := $(shell $(CC) -print-file-name=liblua5.1-cjson.a)
CJSON := build/gen/cjson.a

LIBS := $(LUAJIT_LIBS) $(AMQP_LIBS) -lev -lseccomp -lpthread -lm -ldl

# Flags.

accepted = $(shell $(CC) $(1) -Werror -x c -c /dev/null -o /dev/null 2>/dev/null && echo $(1))

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
  -Wold-style-definition -Wformat=2 -Wundef -Wvla -Wpointer-arith -Wwrite-strings -Wimplicit-fallthrough \
  $(call accepted,-Wlogical-op -Wduplicated-cond -Walloca)
HARDENING := -fPIE -fstack-protector-strong \
  $(call accepted,-fstack-clash-protection) $(call accepted,-fcf-protection)
# gcc counts numbers that do not fit where they are put among neither.
SANITIZERS := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all \
  -fno-omit-frame-pointer

BASE_CPPFLAGS := -Iruntime -D_GNU_SOURCE -DMOONRABBIT_VERSION='"$(VERSION)"' \
  $(LUAJIT_CFLAGS) $(CJSON_CFLAGS) $(AMQP_CFLAGS)
BASE_CFLAGS := -std=c11 -g $(WARNINGS) $(HARDENING)
ERRORS := $(if $(WERROR)$(CI),-Werror)
BASE_LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--as-needed

# A variant is the same program built with other flags, below build/<variant>. `strict` only ever compiles,
# for `check`. Warnings of the asan variant are never errors: sanitizers make gcc see some that are not there.
# `fuzz` is what libFuzzer drives, and the one that clang compiles.
VARIANTS := release debug asan strict fuzz
CC_fuzz := clang
CFLAGS_release := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 $(ERRORS)
CFLAGS_debug := -O0 -g3 $(ERRORS)
CFLAGS_asan := -O1 $(SANITIZERS)
CFLAGS_strict := $(CFLAGS_release) -Werror
CFLAGS_fuzz := -O1 -Wno-unknown-warning-option -Wno-sign-conversion -fsanitize=fuzzer-no-link $(SANITIZERS)
LDFLAGS_asan := $(SANITIZERS)
LDFLAGS_fuzz := -fsanitize=fuzzer $(SANITIZERS)

# Rules for each variant.

# $(call compile,variant): the compiler with the variant's flags. CPPFLAGS, CFLAGS and LDFLAGS are
# left to whoever calls make.
compile = $(or $(CC_$(1)),$(CC)) $(BASE_CPPFLAGS) $(BASE_CFLAGS) $(CFLAGS_$(1)) $(CPPFLAGS) $(CFLAGS)
link = $(BASE_LDFLAGS) $(LDFLAGS_$(1)) $(LDFLAGS)

define variant
OBJECTS_$(1) := $$(addsuffix .o,$$(addprefix build/$(1)/,$(MAIN) $(LIBRARY)))
TESTS_$(1) := $$(patsubst spec/unit/%.c,build/$(1)/unit/%,$(UNIT_TESTS))
BENCHMARKS_$(1) := $$(patsubst spec/bench/%.c,build/$(1)/bench/%,$(BENCHMARKS))
FUZZERS_$(1) := $$(patsubst spec/fuzz/%.c,build/$(1)/fuzz/%,$(FUZZERS))
TEST_OBJECTS_$(1) := $$(patsubst spec/%.c,build/$(1)/spec/%.o,$(UNIT_TESTS) $(BENCHMARKS) $(FUZZERS))
MODULES_$(1) := $$(patsubst spec/support/%.c,build/$(1)/spec/%.so,$(SPEC_MODULES))

build/$(1)/%.o: %.c build/$(1)/flags
	$$(say) compile '$$< ($(1))'
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(call compile,$(1)) -MMD -MP -c $$< -o $$@

build/$(1)/gen/%.o: build/gen/%.c build/$(1)/flags
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(call compile,$(1)) -MMD -MP -c $$< -o $$@

build/$(1)/moonrabbit.a: $$(filter-out %/$(MAIN).o,$$(OBJECTS_$(1))) build/$(1)/sources
	$$(Q)rm -f $$@
	$$(Q)ar rcs $$@ $$(filter %.o,$$^)

build/$(1)/moonrabbit: build/$(1)/$(MAIN).o build/$(1)/moonrabbit.a $(CJSON)
	$$(say) link $$@
	$$(Q)$$(call compile,$(1)) $$(call link,$(1)) $$^ $(LIBS) -o $$@

$$(TESTS_$(1)): build/$(1)/unit/%: build/$(1)/spec/unit/%.o build/$(1)/moonrabbit.a $(CJSON)
	$$(say) link $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(call compile,$(1)) $$(call link,$(1)) $$^ $(LIBS) -lcmocka -o $$@

$$(BENCHMARKS_$(1)): build/$(1)/bench/%: build/$(1)/spec/bench/%.o build/$(1)/moonrabbit.a $(CJSON)
	$$(say) link $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(call compile,$(1)) $$(call link,$(1)) $$^ $(LIBS) -lcmocka -o $$@

$$(FUZZERS_$(1)): build/$(1)/fuzz/%: build/$(1)/spec/fuzz/%.o \
    $(if $(filter-out fuzz,$(1)),build/$(1)/spec/fuzz/replay.o) build/$(1)/moonrabbit.a $(CJSON)
	$$(say) link $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(call compile,$(1)) $$(call link,$(1)) -Wl,--start-group $$^ -Wl,--end-group $(LIBS) -o $$@

build/$(1)/spec/%.so: spec/support/%.c build/$(1)/flags
	$$(say) link $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(filter-out -fPIE,$$(call compile,$(1))) -fPIC -shared -MMD -MP $$< $(AMQP_LIBS) -o $$@

build/$(1)/flags: FORCE
	$$(Q)$$(libraries_found)
	$$(Q)$$(call keep,$$(call compile,$(1)) $$(call link,$(1)) $(LIBS))

build/$(1)/sources: FORCE
	$$(Q)$$(call keep,$(LIBRARY))

-include $$(OBJECTS_$(1):.o=.d) $$(TEST_OBJECTS_$(1):.o=.d) $$(MODULES_$(1):.so=.d)
endef

# What a command was built from is kept in a file that changes only when its text does.
keep = mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' >$@.new; \
  cmp -s $@.new $@ && rm $@.new || mv $@.new $@
libraries_found = test -n "$(LUAJIT_LIBS)" -a -n "$(AMQP_LIBS)" || { \
  echo "pkg-config finds no LuaJIT or no rabbitmq-c: 'make bootstrap' installs both." >&2; exit 1; }

Q := $(if $(V),,@)
say = @printf '  %-8s %s\n'

$(foreach v,$(VARIANTS),$(eval $(call variant,$(v))))

# The hash by which the status page's policy allows the script or the style in it, and no other.
page_hash = sed -n '/^<$(1)>$$/,/^<\/$(1)>$$/p' scripts/status.html | sed '1s/.*//;$$d' | sha256sum | \
  cut -c-64 | tr a-f A-F | basenc --base16 --decode | base64

# Each scripts/NAME.lua becomes script_NAME and script_NAME_size, scripts/NAME.html script_NAME_html, as declared
# in runtime/common/scripts.h.
build/gen/scripts.c: $(SCRIPTS) Makefile
	$(say) embed '$(SCRIPTS)'
	$(Q)mkdir -p $(@D)
	$(Q){ printf '#include "common/scripts.h"\n'; for script in $(SCRIPTS); do \
	  name=script_$$(basename "$$script" .lua | tr -c 'a-z0-9\n' _); \
	  printf '\nconst char %s[] = {\n' "$$name"; \
	  od -An -v -tx1 "$$script" | sed "s/ \([0-9a-f][0-9a-f]\)/'\\\\x\1',/g"; \
	  printf '0};\nconst size_t %s_size = sizeof %s - 1;\n' "$$name" "$$name"; \
	done; \
	printf "\nconst char script_status_html_policy[] =\n  \"script-src 'sha256-%s'; style-src 'sha256-%s'\";\n" \
	  "$$($(call page_hash,script))" "$$($(call page_hash,style))"; } >$@

# cjson takes its memory from runtime/worker/json_memory.c.
$(CJSON): $(CJSON_ARCHIVE) Makefile
	$(Q)mkdir -p $(@D)
	$(Q)objcopy --redefine-sym malloc=json_malloc --redefine-sym realloc=json_realloc \
	  --redefine-sym free=json_free --redefine-sym lua_tolstring=json_tolstring $< $@

.SECONDARY:
.PHONY: FORCE build debug asan unit test bench-programs demo-programs unit-programs test-programs check \
  check-c check-lua check-shell check-habits format demo fuzz fuzz-programs faults soak bench install uninstall clean \
  bootstrap help
FORCE:

# Targets.

build: build/moonrabbit ## compile the program: build/moonrabbit (the default)

build/moonrabbit: build/release/moonrabbit
	$(Q)ln -sfn release/moonrabbit $@

debug: build/debug/moonrabbit ## compile it without optimisation: build/debug/moonrabbit

asan: build/asan/moonrabbit ## compile it with AddressSanitizer and UBSan: build/asan/moonrabbit

# After bootstrap the libraries are there, which this make has not seen: what follows runs in a make of its
# own.
again = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

demo-programs: build $(MODULES_release)
	@:

bench-programs: demo-programs $(BENCHMARKS_release)
	@:

unit-programs: $(TESTS_release) $(TESTS_asan) $(FUZZERS_release) $(FUZZERS_asan)
	@:

test-programs: bench-programs unit-programs asan
	@:

unit: ## build and run the C unit tests; no broker is needed
	$(Q)$(again) unit-programs
	$(Q)scripts/dev/test unit

test: bootstrap ## install what is missing, build, and run every test
	$(Q)$(again) test-programs
	$(Q)scripts/dev/test

demo: ## install what is missing, build, and run 1,000 orders through a private broker
	$(Q)scripts/dev/bootstrap demo
	$(Q)$(again) demo-programs
	$(Q)scripts/dev/demo

fuzz: ## install clang where it is missing, and run each fuzz target for FUZZ_SECONDS (30)
	$(Q)scripts/dev/bootstrap fuzz
	$(Q)$(again) fuzz-programs
	$(Q)scripts/dev/fuzz $(FUZZ_SECONDS)

fuzz-programs: $(FUZZERS_fuzz)
	@:

faults: ## FAULTS (200) random faults under load, in four campaigns, from SEED (any)
	$(Q)$(again) demo-programs
	$(Q)scripts/dev/faults $(FAULTS) $(SEED)

soak: ## everything that handlers do, for SOAK (10m), and whether a process grows
	$(Q)$(again) demo-programs
	$(Q)scripts/dev/soak $(SOAK)

bench: ## install what is missing, peers included, build, and measure what it costs on this machine
	$(Q)scripts/dev/bootstrap bench
	$(Q)$(again) bench-programs
	$(Q)scripts/dev/bench

check: ## format, warnings, static analysis, luacheck, shellcheck, and the project's own rules
	$(Q)$(again) --keep-going check-c check-lua check-shell check-habits
	@echo "check: nothing to complain of"

TIDIED := $(patsubst %.c,build/strict/%.tidy,$(SOURCES) $(UNIT_TESTS) $(BENCHMARKS) $(FUZZERS) spec/fuzz/replay.c \
  $(SPEC_MODULES))

check-c: $(TIDIED)
	$(say) check format
	$(Q)clang-format --dry-run -Werror $(C_FILES)

# A test may trust numbers that it printed itself and its own small sizes, and the analyzer does not know that
# cmocka's assertions end a test.
TIDY_SPEC := -cert-err34-c,-bugprone-implicit-widening-of-multiplication-result,-clang-analyzer-core.*

build/strict/%.tidy: build/strict/%.o .clang-tidy
	$(say) tidy $*.c
	$(Q)clang-tidy --quiet --warnings-as-errors='*' $(if $(filter spec/%,$*),--checks='$(TIDY_SPEC)') $*.c \
	  -- $(BASE_CPPFLAGS) -std=c11 2>$@.log || { cat $@.log; exit 1; }
	$(Q)touch $@

check-lua:
	$(say) check Lua
	$(Q)luacheck --quiet $(LUA_FILES)

check-shell:
	$(say) check shell
	$(Q)shellcheck $$(grep -lE '^#!.*(bash|/sh)' scripts/dev/* .ci/*)

check-habits:
	$(say) check habits
	$(Q)scripts/dev/check

format: ## lay out the C files the project's way
	$(Q)clang-format -i $(C_FILES)

install: build ## install below PREFIX (/usr/local), under DESTDIR if given
	install -D -m 755 build/release/moonrabbit $(DESTDIR)$(PREFIX)/bin/moonrabbit
	$(if $(wildcard runtime/doc/moonrabbit.1),install -D -m 644 runtime/doc/moonrabbit.1 \
	  $(DESTDIR)$(PREFIX)/share/man/man1/moonrabbit.1)
	install -d $(DESTDIR)$(PREFIX)/share/doc/moonrabbit
	cp -R examples $(DESTDIR)$(PREFIX)/share/doc/moonrabbit/
	install -d $(DESTDIR)$(PREFIX)/share/moonrabbit/types
	install -m 644 scripts/types/*.lua $(DESTDIR)$(PREFIX)/share/moonrabbit/types/
	install -m 644 runtime/doc/grafana.json runtime/doc/alerts.yml $(DESTDIR)$(PREFIX)/share/moonrabbit/

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/moonrabbit $(DESTDIR)$(PREFIX)/share/man/man1/moonrabbit.1
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/moonrabbit $(DESTDIR)$(PREFIX)/share/moonrabbit

clean: ## remove everything that was built
	rm -rf build

bootstrap: ## install the Debian packages that build and tests need; does nothing when they are there
	$(Q)scripts/dev/bootstrap

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS="$$(printf '\t')" read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done
