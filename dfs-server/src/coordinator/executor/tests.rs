//! The executor with fake clients over in-process streams.
