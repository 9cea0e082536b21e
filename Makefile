# What a person types. Each target works on a fresh checkout with a Rust toolchain, C and C++
# compilers, make and perl; `make test` installs PostgreSQL, Java, Maven and Python when it may.

BED := tests/bed/bed.sh

.PHONY: help run test demo lint check-macos bench servers servers-stop install packages formula

help:
	@sed -n 's/^## //p' Makefile

## make run           build and start the agent on this checkout, with no servers
run:
	@tests/bed/run.sh

## make test [T=name] start PostgreSQL and Kafka, run every test and the lints, stop them
test:
ifdef T
	@$(BED) run cargo test --locked -- $(T)
else
	@$(MAKE) --no-print-directory lint check-macos
	@packaging/packages.sh tools
	@$(BED) run cargo test --locked
endif

## make demo          play a whole deployment, with an outage and a crash, slowly and with words
demo:
	@STAMPD_DEMO=slowly $(BED) run cargo test --locked --quiet --test it -- --exact --nocapture \
		system::every_scenario_holds_one_after_the_other

## make lint          rustfmt, clippy and cargo-deny; no warnings are allowed
lint:
	@tests/bed/lint.sh

## make check-macos   type-check what macOS would compile, from Linux
check-macos:
	@tests/bed/macos/check.sh

## make bench [T=P1]  measure against the peers and print one table (many minutes)
bench:
	@BED_FSYNC=on BED_BENCH=on $(BED) run cargo bench --locked --bench figures -- $(T)

## make servers       leave PostgreSQL and Kafka running for development
servers:
	@$(BED) up

## make servers-stop  stop them
servers-stop:
	@$(BED) down

## make install [PREFIX=/usr/local DESTDIR=]  build it, and put program, manual pages and completions in place
install:
	cargo build --release --locked
	@packaging/install.sh "$(DESTDIR)$(or $(PREFIX),/usr/local)"

## make packages      build it, and make a .deb and a .rpm in target/packages
packages:
	cargo build --release --locked
	@packaging/packages.sh build target/release/stampd

## make formula [URL=]  make an archive of the sources and Homebrew's formula for it in target/packages
formula:
	@packaging/packages.sh formula "$(URL)"
