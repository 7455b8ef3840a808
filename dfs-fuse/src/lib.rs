//! The kernel's door of DFS. `main` and the tests of this crate call in here; nobody else depends on it.

pub mod kernel;
