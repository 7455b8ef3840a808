//! Ordinary programs on a real mount. They know nothing of DFS, and that is the point.
mod builds;
mod containers;
mod copies;
mod databases;
mod git;
