# A thin front for meson and the scripts; everything is built in build/ and its siblings build-*/.

BUILD = build
NINJA = ninja -C $(BUILD)
export DESTDIR

all: $(BUILD)/build.ninja
	$(NINJA)

# Meson notices changed files by itself, but not a folder that is new.
$(BUILD)/build.ninja: $(wildcard src/*/meson.build src/*/*/meson.build tests/*/meson.build \
                        tests/unit/*/meson.build */meson.build docs/man) | deps-build
	@if test -f $@; then meson setup --reconfigure $(BUILD); else meson setup $(BUILD); fi
	@touch $@

deps-%:
	@tools/deps install $*

demo: deps-demo all
	demo/run

check: deps-check
	tools/check

check-arm64: deps-check
	tools/check arm64

bench: deps-bench all
	bench/run
	bench/toolkit/run

fuzz: deps-check
	tools/fuzz

install: all
	meson install -C $(BUILD) --no-rebuild

uninstall:
	$(NINJA) uninstall

format: deps-check
	tools/sources | xargs clang-format -i

lint: deps-check
	tools/check lint

clean:
	rm -rf build build-*

.PHONY: all bench check check-arm64 clean demo format fuzz install lint uninstall
