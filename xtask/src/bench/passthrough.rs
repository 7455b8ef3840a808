//! libfuse's example passthrough_ll, built from the source that Debian ships, with a hash table in place of its list of
//! inodes. Called by `targets`.
use crate::shell::{self, Outcome};
use std::path::Path;

/// Debian ships the source of the example with libfuse3-dev.
const EXAMPLE: &str = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c";

/// The example keeps its inodes in one linked list, so that a lookup costs all files known. These edits put a
/// hash table in its place: what is measured is FUSE, not the list.
const HASH_EDITS: [(&str, &str); 3] = [
    (
        "static struct lo_inode *lo_find",
        "#define NH 65536\nstatic struct lo_inode heads[NH];\n#define HEAD(i) (&heads[((i) ^ ((i) >> 16)) % NH])\n\
         __attribute__((constructor)) static void heads_init(void) {\n\
         for (int i = 0; i < NH; i++) heads[i].next = heads[i].prev = &heads[i]; }\nstatic struct lo_inode *lo_find",
    ),
    (
        "for (p = lo->root.next; p != &lo->root; p = p->next)",
        "struct lo_inode *h = HEAD(st->st_ino); for (p = h->next; p != h; p = p->next)",
    ),
    ("prev = &lo->root;", "prev = HEAD(e->attr.st_ino);"),
];

pub fn build(program: &Path) -> Outcome {
    if program.exists() {
        return Ok(());
    }
    let mut text = std::fs::read_to_string(EXAMPLE).map_err(|e| {
        format!("cannot read {EXAMPLE}: {e}; if dpkg leaves out /usr/share/doc here, allow it and reinstall libfuse3-dev")
    })?;
    for (from, to) in HASH_EDITS {
        if text.matches(from).count() != 1 {
            return Err(format!(
                "{EXAMPLE} is another version: `{from}` is not in it once"
            ));
        }
        text = text.replace(from, to);
    }
    let source = program.with_extension("c");
    let made = source
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&source, text));
    made.map_err(|e| format!("cannot write {}: {e}", source.display()))?;
    let flags = shell::capture(shell::command("pkg-config").args(["--cflags", "--libs", "fuse3"]))?;
    let mut gcc = shell::command("gcc");
    gcc.args(["-O2", "-w", "-I/usr/share/doc/libfuse3-dev/examples", "-o"])
        .arg(program)
        .arg(&source);
    shell::run(gcc.args(flags.split_whitespace()).arg("-lpthread"))
}
