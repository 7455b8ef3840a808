//! Tests of the service over real connections.
