# vmrecover. `make help` lists the targets.
#
# Variables: SAN=address,undefined | thread (sanitizer build, in a folder of its own), CC, CFLAGS, PREFIX, DESTDIR,
# WIN64_CACHE (packaging/windows/rules.mk), TESTS (a pattern of unit and end-to-end test names for `make check`), V=1 (show the commands).

VERSION := 0.1.0
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
OS      := $(if $(findstring mingw,$(shell $(CC) -dumpmachine)),win32,posix)
SAN     :=
BUILD   := build$(if $(SAN),/san-$(SAN))
PREFIX  := /usr
DESTDIR :=

WARN     := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Werror
CFLAGS   ?= -O2 -g
HARDEN   := $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined))
WEB      := build/web
DEFS     := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVMR_VERSION='"$(VERSION)"' -I. -I$(WEB)
PKGS     := libmicrohttpd libcurl jansson sqlite3 libpng expat libcrypto ext2fs com_err
PKGFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread
CLILIBS  := $(shell pkg-config --libs libcurl jansson libcrypto 2>/dev/null) -lpthread
ALLFLAGS  = -std=gnu17 $(DEFS) $(WARN) $(HARDEN) $(SANFLAGS) $(PKGFLAGS) $(CFLAGS)
LINKFLAGS = $(SANFLAGS) -pie -Wl,-z,relro,-z,now $(LDFLAGS)
EXE      :=
FINISH   := :

# Sources: each folder of the layout, less the other platform's files. main() lives in service/main.c and api/cli/main.c.
FOLDERS  := common common/wmi db storage storage/azure storage/transfer storage/image storage/volume hyperv api service
pick      = $(filter-out %_posix.c %_win32.c,$(1)) $(filter %_$(OS).c,$(1))
LIB_SRCS := $(filter-out service/main.c,$(call pick,$(wildcard $(addsuffix /*.c,$(FOLDERS)))))
CLI_SRCS := $(call pick,$(wildcard api/cli/*.c) $(wildcard common/*.c))
UNIT     := $(patsubst tests/unit/%.c,%,$(call pick,$(wildcard tests/unit/test_*.c)))
UNIT_LIB := $(filter-out tests/unit/test_%.c,$(call pick,$(wildcard tests/unit/*.c)))
DOUBLES  := $(call pick,$(wildcard tests/doubles/wmi/*.c))
ALL_C    := $(wildcard $(addsuffix /*.[ch],$(FOLDERS) api/cli tests/unit tests/fuzz tests/bench tests/doubles tests/doubles/wmi tests/doubles/com tests/doubles/dism))

JOBS     := $(shell nproc)
Q        := $(if $(V),,@)
obj       = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

.PHONY: all help deps check soak check-unit check-e2e check-valgrind demo bench fuzz fuzz-programs unit-programs bench-programs lint format install deb clean
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

# the Windows build: the same sources, other flags and libraries
include packaging/windows/rules.mk

all: $(BUILD)/vmrecoverd$(EXE) $(BUILD)/vmrecover$(EXE)

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST)) | sed 's/$$(VERSION)/$(VERSION)/g'

## make                  build/vmrecoverd and build/vmrecover
## make deps             install what building and testing need (Debian)
## make demo             a broken VM, recovered before your eyes
## make check            all tests (SAN=address,undefined or SAN=thread for sanitizers)
## make soak             the same with the full counts
## make check-valgrind   unit and end-to-end tests under valgrind
## make check-windows    those of the Windows build alone, under Wine
## make lint             clang-tidy, cppcheck, clang's warnings
## make fuzz             each parser of outside bytes for a minute
## make bench            vmrecover beside AzCopy; the API with 10,000 jobs
## make install          DESTDIR and PREFIX are respected
## make windows          build/win64: the executables, an MSI and a zip
## make deb              build/vmrecover_$(VERSION)_amd64.deb

$(BUILD)/obj/%.o: %.c Makefile $(OBJ_NEEDS)
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) $(ALLFLAGS) -MMD -MP -c $< -o $@

# The dashboard, the same for every platform; api/web/README.md. Its packages are fetched once, and again when the lock file changes.
WEB_MODULES := api/web/node_modules/.installed
$(WEB)/web_assets.h: $(shell find api/web/src) api/web/build.mjs $(WEB_MODULES)
	@mkdir -p $(@D)
	@echo '  WEB   $@'
	$(Q)node api/web/build.mjs $(WEB)

$(WEB_MODULES): api/web/package.json api/web/package-lock.json
	@command -v npm >/dev/null || { echo "The dashboard is built with Node.js and npm: run 'make deps'." >&2; exit 1; }
	$(Q)cd api/web && npm ci --loglevel=error >/dev/null
	@touch $@

$(BUILD)/obj/api/assets.o: $(WEB)/web_assets.h
$(BUILD)/obj/api/openapi.o: api/openapi.json
$(BUILD)/obj/db/migrate.o: db/schema.sql
$(BUILD)/obj/service/setup_win32.o: packaging/windows/vmrecover.conf

$(BUILD)/libvmrecover.a: $(call obj,$(LIB_SRCS))
	@rm -f $@                                         # ar q: two folders may have a file of one name
	$(Q)$(AR) qcs $@ $^

$(BUILD)/vmrecoverd$(EXE): $(call obj,service/main.c) $(BUILD)/libvmrecover.a
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINKFLAGS) $^ $(LIBS) -o $@
	$(Q)$(FINISH)

$(BUILD)/vmrecover$(EXE): $(call obj,$(CLI_SRCS))
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINKFLAGS) $^ $(CLILIBS) -o $@
	$(Q)$(FINISH)

$(BUILD)/libdoubles.a: $(call obj,$(DOUBLES))
	@rm -f $@
	$(Q)$(AR) qcs $@ $^

$(BUILD)/unit/%$(EXE): $(BUILD)/obj/tests/unit/%.o $(call obj,$(UNIT_LIB)) $(BUILD)/libdoubles.a $(BUILD)/libvmrecover.a
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINKFLAGS) $^ $(LIBS) -lcmocka -o $@

# this one stands between the image writer and its file
$(BUILD)/unit/test_image_kill$(EXE): LINKFLAGS += -Wl,--wrap=os_file_pwrite,--wrap=os_file_truncate,--wrap=os_file_sync

unit-programs: $(patsubst %,$(BUILD)/unit/%$(EXE),$(UNIT))

deps:
	@sh tests/deps.sh

# All tests. Sanitizer builds leave out what they do not bear upon: packaging, fuzzers and lint, and Windows.
check: deps
	+@$(MAKE) --no-print-directory -j$(JOBS) all unit-programs
	@$(MAKE) --no-print-directory check-unit
ifeq ($(SAN),)
	@sh tests/layers.sh
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(if $(SOAK),60,0)
endif
	@$(MAKE) --no-print-directory check-e2e
ifeq ($(SAN),)
	@BUILD=$(BUILD) tests/systemd/run.sh
endif

soak:
	@$(MAKE) --no-print-directory check SOAK=1

# what these look at is the browser's work
PAGES_ONLY := dashboard-looks.test.mjs dashboard-scale.test.mjs
check-e2e: all
	@BUILD=$(BUILD) SAN=$(SAN) SOAK=$(SOAK) SLOW=$(if $(SAN),4,1) LEFT_OUT='$(if $(SAN),$(PAGES_ONLY))' sh tests/e2e/run.sh '$(TESTS)'

# The unit tests, and the end-to-end files of which the daemon's own work is the larger part, under valgrind.
check-valgrind: deps
	@$(MAKE) --no-print-directory all unit-programs
	@VALGRIND=1 sh tests/unit/run.sh $(BUILD)/unit '$(TESTS)'
	@for t in download crash sse secrets bad-input client bad-sources lifecycle recover; do BUILD=$(BUILD) VALGRIND=1 SLOW=10 sh tests/e2e/run.sh $$t || exit 1; done

demo: deps
	@$(MAKE) --no-print-directory all
	@node tests/e2e/demo.mjs

check-unit: unit-programs
	@sh tests/unit/run.sh $(BUILD)/unit '$(TESTS)'

# Fuzz targets (libFuzzer): a clang build of everything in a folder of its own. FUZZ_SECONDS for each, TESTS to choose.
FUZZ_SECONDS ?= 60
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/libvmrecover.a
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINKFLAGS) -fsanitize=fuzzer $^ $(LIBS) -o $@

fuzz-programs: $(addprefix $(BUILD)/,$(FUZZ))

fuzz:
	+@$(MAKE) --no-print-directory -j$(JOBS) BUILD=build/fuzz CC=clang SAN=address,undefined CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' fuzz-programs
	@sh tests/fuzz/run.sh build/fuzz $(FUZZ_SECONDS) '$(TESTS)'

# Measuring: small programs, put together by run.mjs.
BENCH := $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/*.c))

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(BUILD)/libvmrecover.a
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINKFLAGS) $^ $(LIBS) -o $@

bench-programs: $(addprefix $(BUILD)/bench/,$(BENCH))

bench: deps
	@$(MAKE) --no-print-directory all bench-programs
	@BUILD=$(BUILD) node tests/bench/run.mjs

LINT_C = $(call pick,$(filter %.c,$(ALL_C)))
lint: $(WEB)/web_assets.h
	@FLAGS='-std=gnu17 $(subst ',,$(DEFS)) $(WARN) $(PKGFLAGS)' SOURCES='$(LINT_C)' sh tests/lint.sh

# ---- installation: the daemon, the client, unit, configuration, man pages; `make deb` packs the same ----
SBINDIR := $(PREFIX)/sbin
BINDIR  := $(PREFIX)/bin
MANDIR  := $(PREFIX)/share/man
UNITDIR := $(PREFIX)/lib/systemd/system
FILL     = sed -e 's|@SBINDIR@|$(SBINDIR)|' -e 's|@VERSION@|$(VERSION)|'

install: all
	install -d $(addprefix $(DESTDIR),$(SBINDIR) $(BINDIR) $(MANDIR)/man1 $(MANDIR)/man8 $(UNITDIR) $(PREFIX)/lib/sysusers.d /etc/vmrecover)
	install -m 755 $(BUILD)/vmrecoverd $(DESTDIR)$(SBINDIR)/
	install -m 755 $(BUILD)/vmrecover $(DESTDIR)$(BINDIR)/
	$(FILL) packaging/systemd/vmrecoverd.service.in >$(DESTDIR)$(UNITDIR)/vmrecoverd.service
	$(FILL) packaging/man/vmrecover.1.in >$(DESTDIR)$(MANDIR)/man1/vmrecover.1
	$(FILL) packaging/man/vmrecoverd.8.in >$(DESTDIR)$(MANDIR)/man8/vmrecoverd.8
	install -m 644 packaging/systemd/vmrecover.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/vmrecover.conf
	[ -e $(DESTDIR)/etc/vmrecover/vmrecover.conf ] || install -m 644 packaging/vmrecover.conf $(DESTDIR)/etc/vmrecover/vmrecover.conf
	$(if $(DESTDIR),,@echo 'Start it: systemd-sysusers && systemctl daemon-reload && systemctl enable --now vmrecoverd')

deb: all
	@packaging/deb/build.sh $(VERSION) $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
