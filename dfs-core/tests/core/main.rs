//! The core's tests through its public face: every refusal of every operation, a naive reference file system
//! against `execute`, properties of the tables, golden encodings. They know nothing of the core's insides.

mod attributes;
mod commits;
mod compare;
mod counts;
mod data;
mod golden;
mod golden_space;
mod million;
mod model;
mod names;
mod orphans;
mod pair;
mod property;
mod quota_steps;
mod quotas;
mod relocation;
mod ship;
mod steps;
mod tables;
mod trash;
mod world;
mod xattrs;
