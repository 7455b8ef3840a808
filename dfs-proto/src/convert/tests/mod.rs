//! Round trips of every operation and reply, and hostile input: nothing that arrives may panic or pass
//! unchecked.

mod golden;
mod hostile;
mod refusals;
mod round_trip;
mod strategies;
