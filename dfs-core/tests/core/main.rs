//! The core's tests through its public face: every refusal of every operation, a naive reference file system
//! against `execute`, properties of the tables, golden encodings. They know nothing of the core's insides.

mod attributes;
mod commits;
mod compare;
mod data;
mod golden;
mod million;
mod model;
mod names;
mod orphans;
mod pair;
mod property;
mod steps;
mod tables;
mod world;
mod xattrs;
