# The same few words everywhere: make build, run, test, bench, install.
# CMake does the work; everything lands in build/ (build-asan/, build-tsan/).

PREFIX  ?= /usr/local
DESTDIR ?=

# In CI, a warning in the release build is an error too.
RELEASE := cmake --preset release $(if $(CI),-DLIBSSE_WERROR=ON)

.PHONY: build run test bench chaos fuzz install format clean

build:
	@scripts/install_packages.sh build
	$(RELEASE)
	cmake --build --preset release

run: build
	build/bin/sse-server

test:
	@scripts/install_packages.sh build test
	@CONFIGURE_RELEASE='$(RELEASE)' scripts/test.sh

bench:
	@scripts/install_packages.sh build bench
	$(RELEASE) -DLIBSSE_BENCH=ON
	cmake --build --preset release
	npm install --prefix bench --silent --no-audit --no-fund
	build/bench/queue_bench
	bench/run

chaos:
	@scripts/install_packages.sh build test
	$(RELEASE) -DLIBSSE_TESTS=ON
	cmake --build --preset release
	@scripts/venv.sh
	build/venv/bin/python bench/chaos.py

fuzz:
	@scripts/install_packages.sh build test
	@scripts/fuzz.sh

install:
	@scripts/install_packages.sh build
	$(RELEASE) -DCMAKE_INSTALL_PREFIX='$(PREFIX)'
	cmake --build --preset release
	DESTDIR='$(DESTDIR)' cmake --install build
	@test -n '$(DESTDIR)' || test "$$(id -u)" != 0 || ldconfig

format:
	@scripts/venv.sh
	scripts/format.sh

clean:
	rm -rf build build-*
