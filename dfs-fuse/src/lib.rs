//! The kernel's door of DFS and the `dfs` command line. `main` and the tests of this crate call in here; no other
//! crate depends on it.

pub mod commands;
pub mod door;
pub mod kernel;
