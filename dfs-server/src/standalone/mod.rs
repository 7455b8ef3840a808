//! All in one process: a coordinator and datanodes with their own data directories, for a laptop.
