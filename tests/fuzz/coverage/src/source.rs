//! See `moec_fuzz::Target::Source`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    moec_fuzz::Target::Source.run(bytes);
});
