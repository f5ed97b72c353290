//! The test-file runner behind moec test.
