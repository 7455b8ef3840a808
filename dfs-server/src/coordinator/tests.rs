//! The whole coordinator in one process: see the folders' own tests for the parts.
