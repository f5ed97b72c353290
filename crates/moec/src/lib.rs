//! The facade: compile, bind, run.
