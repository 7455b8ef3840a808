//! The checker finds what it is for.
