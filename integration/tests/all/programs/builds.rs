//! cargo and make: compilers map, rename, lock and set times.
use crate::Scene;
use integration::script;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn cargo_builds_and_runs_a_small_crate_and_knows_what_is_fresh() {
    let scene = Scene::new();
    // The crate is nobody's workspace and needs no registry; the toolchain is the developer's own.
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let script = format!(
        "export HOME={home}; unset CARGO_TARGET_DIR RUSTFLAGS
         cargo new -q --vcs none --lib part; cargo new -q --vcs none whole; cd whole
         printf '[workspace]\\n' >> Cargo.toml; sed -i 's|.dependencies.|&\\npart = {{ path = \"../part\" }}|' Cargo.toml
         printf 'fn main() {{ println!(\"{{}}\", part::add(40, 2)); }}\\n' > src/main.rs
         cargo build -q --offline; test \"$(target/debug/whole)\" = 42; cargo test -q --offline >/dev/null
         cargo build --offline 2>&1 | grep -v Compiling | grep -q Finished
         sleep 0.1; printf 'fn main() {{ println!(\"{{}}\", part::add(1, 2)); }}\\n' > src/main.rs
         cargo build --offline 2>&1 | grep -q Compiling; test \"$(target/debug/whole)\" = 3"
    );
    script::run(scene.path(), LIMIT, &script);
}

#[test]
fn make_and_gcc_build_in_parallel() {
    let scene = Scene::new();
    let script = "
        for n in $(seq 30); do echo \"int f$n(void) { return $n; }\" > f$n.c; done
        { for n in $(seq 30); do echo \"int f$n(void);\"; done; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'
          for n in $(seq 30); do echo \"s += f$n();\"; done; echo 'printf(\"%d\\n\", s); return 0; }'; } > main.c
        printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n\\tgcc -o sum $^\\n%%.o: %%.c\\n\\tgcc -c -o $@ $<\\n' > Makefile
        make -s -j4; test \"$(./sum)\" = 465; make -s -q main.o";
    script::run(scene.path(), LIMIT, script);
}
