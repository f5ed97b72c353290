//! See `moec_fuzz::Target::ModelFolder`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    moec_fuzz::Target::ModelFolder.run(bytes);
});
