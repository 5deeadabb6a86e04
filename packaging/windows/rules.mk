# The Windows build: included by the Makefile. `make windows` and its siblings run make again with the cross compiler as CC and
# build/win64 as BUILD; there the Makefile's own rules compile the same sources, with *_win32.c in place of *_posix.c.
# `make windows-unit` links the unit tests, but for those named *_posix.c, as build/win64/unit/*.exe.
#
# WIN64_CACHE: where the libraries are kept between builds (a folder that `make clean` leaves alone).

WIN64       := build/win64
WIN64_CACHE := $(CURDIR)/.cache/win64
WIN64_CC    := x86_64-w64-mingw32-gcc
WIN64_MAKE   = $(MAKE) --no-print-directory CC=$(WIN64_CC) SAN= BUILD=$(WIN64)
NEXT        := $(WIN64)-next
NEXT_VERSION := $(shell echo $(VERSION) | awk -F. '{ print $$1 "." $$2 "." $$3 + 1 }')

.PHONY: windows windows-deps windows-programs windows-unit windows-next windows-packages check-windows check-windows-unit check-windows-installed check-windows-e2e

windows-deps: deps
	@packaging/windows/deps.sh $(WIN64_CACHE)

windows-programs: windows-deps
	+@$(WIN64_MAKE) all

windows: windows-programs
	+@$(WIN64_MAKE) windows-packages

windows-unit: windows-programs
	+@$(WIN64_MAKE) unit-programs

# One version further, for the test of upgrades: what does not tell its version is not compiled again
windows-next: windows
	@rm -rf $(NEXT) && mkdir -p $(NEXT) && cp -a $(WIN64)/obj $(WIN64)/gen $(NEXT)/
	@cd $(NEXT)/obj && rm -f *.res $(patsubst %.c,%.o,$(shell grep -rl --include=*.c VMR_VERSION $(FOLDERS)))
	+@$(WIN64_MAKE) BUILD=$(NEXT) VERSION=$(NEXT_VERSION) all
	+@$(WIN64_MAKE) BUILD=$(NEXT) VERSION=$(NEXT_VERSION) windows-packages

# The tests of the Windows build, under Wine where they run something. TESTS chooses among unit tests and files of end-to-end tests.
# Two of the three groups at a time, each in prefixes of its own: they wait more than they work.
check-windows: deps
	+@$(MAKE) --no-print-directory -j$(JOBS) windows-next
	+@$(MAKE) --no-print-directory -j$(JOBS) windows-unit
	+@$(MAKE) --no-print-directory -j2 --output-sync=target check-windows-e2e check-windows-unit check-windows-installed

check-windows-unit:
	@bash tests/windows/unit.sh $(WIN64)/unit '$(TESTS)'

check-windows-installed:
	@sh tests/windows/executables.sh $(WIN64)
	@sh tests/windows/packages.sh $(WIN64) $(VERSION)
	@bash tests/windows/service.sh $(WIN64)
	@bash tests/windows/hyperv.sh $(WIN64)
	@IN=../windows LEFT_OUT="hyperv.test.mjs role.test.mjs" PLATFORM=wine BUILD=$(WIN64) NEXT=$(NEXT) SOAK=$(SOAK) sh tests/e2e/run.sh '$(TESTS)'

check-windows-e2e:
	@SOAK=$(SOAK) bash tests/windows/e2e.sh $(WIN64) '$(TESTS)'

ifeq ($(OS),win32)
CROSS     := $(patsubst %gcc,%,$(CC))
AR        := $(CROSS)ar
EXE       := .exe
WIN64_ROOT := $(WIN64_CACHE)/root
GEN       := $(BUILD)/gen

# Windows 10 and Server 2016 (0x0A00) and their C runtime (UCRT); printf and its like are mingw-w64's, which know C's formats
DEFS      += -ffile-prefix-map=$(CURDIR)=. -D_UCRT -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 -DCURL_STATICLIB -DXML_STATIC -I$(GEN)
PKGFLAGS  := -isystem $(WIN64_ROOT)/include
HARDEN    := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
LINKFLAGS  = -static -fstack-protector-strong -L$(WIN64_ROOT)/lib -Wl,--dynamicbase,--nxcompat,--high-entropy-va,--no-insert-timestamp $(LDFLAGS)
SYSLIBS   := -lole32 -loleaut32 -lwbemuuid -luuid -lwinhttp -lshell32 -lws2_32 -lsecur32 -lcrypt32 -lbcrypt -lncrypt -ladvapi32 -lpthread
LIBS      := -lmicrohttpd -lcurl -ljansson -lsqlite3 -lpng16 -lz -lexpat $(SYSLIBS)
CLILIBS   := -lcurl -ljansson $(SYSLIBS)

# every object depends on the libraries' versions and on the messages' header
OBJ_NEEDS := $(WIN64_ROOT)/VERSIONS $(GEN)/messages.h packaging/windows/rules.mk

$(GEN)/messages.h $(GEN)/messages.rc &: packaging/windows/messages.mc
	@mkdir -p $(GEN)
	$(Q)$(CROSS)windmc -C 65001 -h $(GEN) -r $(GEN) $<

# Resources: version, manifest; the daemon carries the event messages as well.
COMMA     := ,
DESCRIPTION_vmrecoverd := vmrecover service: recovers Azure virtual machines that do not boot
DESCRIPTION_vmrecover  := vmrecover client: talks to the vmrecover service
resource   = $(BUILD)/obj/$(1).res
$(BUILD)/obj/%.res: packaging/windows/resources.rc.in packaging/windows/app.manifest Makefile $(GEN)/messages.rc
	@mkdir -p $(@D)
	@for f in resources.rc.in:$*.rc app.manifest:$*.manifest; do \
	    sed -e 's|@NAME@|$*|g' -e 's|@VERSION@|$(VERSION)|g' -e 's|@COMMAS@|$(subst .,$(COMMA),$(VERSION))|g' \
	        -e 's|@DESCRIPTION@|$(DESCRIPTION_$*)|g' packaging/windows/$${f%:*} >$(GEN)/$${f#*:} || exit 1; done
	@if [ $* = vmrecoverd ]; then echo '#include "messages.rc"' >>$(GEN)/$*.rc; fi
	$(Q)$(CROSS)windres -I $(GEN) -O coff -i $(GEN)/$*.rc -o $@

# The packages, made by one run of build.sh; the sources of the LGPL library go with them
PACKAGES  := $(BUILD)/vmrecover-$(VERSION)-x64.msi $(BUILD)/vmrecover-$(VERSION)-x64.zip $(BUILD)/vmrecover-$(VERSION)-lgpl-source.tar
windows-packages: $(PACKAGES)
$(PACKAGES) &: $(BUILD)/vmrecoverd.exe $(BUILD)/vmrecover.exe $(wildcard packaging/windows/*) LICENSE $(WIN64_ROOT)/VERSIONS
	@packaging/windows/build.sh $(VERSION) $(BUILD) $(WIN64_CACHE)

$(BUILD)/vmrecoverd.exe: $(call resource,vmrecoverd)
$(BUILD)/vmrecover.exe: $(call resource,vmrecover)

# What lies above the seam of WMI is the same everywhere and tested on Linux, with sanitizers, on the same double; a file that is flushed
# under Wine takes its time, and these flush thousands. tests/windows/hyperv.sh runs the whole of it.
UNIT      := $(filter-out test_wmi_double_% test_volume_windows% $(addprefix test_hyperv_,check life storm deaths names vm disks console nat),$(UNIT))

# A service for tests/windows/service.sh
unit-programs: $(BUILD)/late_service.exe
$(BUILD)/late_service.exe: $(BUILD)/obj/tests/windows/late_service.o $(BUILD)/libvmrecover.a
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINKFLAGS) $^ $(LIBS) -o $@

# The double of Windows' WMI as a DLL, for Wine to load in place of its own
unit-programs: $(BUILD)/wmi_double.dll
$(BUILD)/wmi_double.dll: $(call obj,$(wildcard tests/doubles/com/*.c)) $(BUILD)/libdoubles.a $(BUILD)/libvmrecover.a tests/doubles/com/wmi_double.def
	@echo '  LINK  $@'
	$(Q)$(CC) -shared $(LINKFLAGS) -Wl,--wrap=file_may $(filter-out %.def,$^) tests/doubles/com/wmi_double.def $(LIBS) -o $@

# Windows' servicing, which Wine lacks
unit-programs: $(BUILD)/dismapi.dll
$(BUILD)/dismapi.dll: $(call obj,tests/doubles/dism/dism_double_win32.c) tests/doubles/dism/dismapi.def
	@echo '  LINK  $@'
	$(Q)$(CC) -shared $(LINKFLAGS) $^ -lole32 -o $@

# What is shipped is stripped; the debug information stays beside it (NAME.exe.debug), where gdb and winedbg look for it. No times in
# either: the same sources give the same files.
FINISH     = export SOURCE_DATE_EPOCH=0; $(CROSS)objcopy --only-keep-debug $@ $@.debug && $(CROSS)objcopy --strip-all --add-gnu-debuglink=$@.debug $@
endif
